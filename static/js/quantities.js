// The choice of places: buttons beside each number, the running total, and a name field for each
// place chosen. The form works without this file; nothing here is needed to reserve.
// @ts-check

/** @param {HTMLInputElement} input */
function quantityOf(input) {
  const typed = Math.trunc(Number(input.value)) || 0;
  return Math.min(Math.max(typed, 0), Number(input.max));
}

/**
 * The amount is written as the server writes it, in the form that came with the page.
 * @param {DOMStringMap} form
 * @returns {(minor: number) => string}
 */
function moneyFormat({ exponent = "2", numbers = "en", digits = "2", prefix = "", suffix = "" }) {
  const format = new Intl.NumberFormat(numbers, {
    minimumFractionDigits: Number(digits),
    maximumFractionDigits: Number(digits),
    // Spanish would leave four digits ungrouped, the server does not. Old browsers take it as true.
    useGrouping: /** @type {any} */ ("always"),
  });
  return (minor) => `${prefix}${format.format(minor / 10 ** Number(exponent))}${suffix}`;
}

/**
 * A field for the name on one place; the page itself has only a box of lines, for browsers that
 * do not run this.
 * @param {HTMLElement} group @param {number} index
 */
function addHolder(group, index) {
  const { holders: offer = "", place = "", given = "[]" } = group.dataset;
  const text = (group.parentElement && group.parentElement.dataset.label) || "";
  const field = document.createElement("div");
  field.className = "field";
  const label = document.createElement("label");
  const input = document.createElement("input");
  input.id = label.htmlFor = `holder-${offer}-${index + 1}`;
  input.name = `holder-${offer}`;
  input.autocomplete = "off";
  input.maxLength = 120;
  input.value = JSON.parse(given)[index] || "";
  label.textContent = text.replace("{place}", place).replace("{number}", String(index + 1));
  field.append(label, input);
  group.append(field);
}

/** @param {HTMLElement} form @param {HTMLInputElement} input @param {number} quantity */
function showHolders(form, input, quantity) {
  const group = form.querySelector(`[data-holders="${input.dataset.offer}"]`);
  if (!(group instanceof HTMLElement)) return;
  group.hidden = quantity === 0;
  for (let index = group.querySelectorAll("input").length; index < quantity; index += 1) {
    addHolder(group, index);
  }
  group.querySelectorAll("input").forEach((holder, index) => {
    // A disabled field is not sent, so a place that was taken back leaves no name behind.
    holder.disabled = index >= quantity;
    const field = holder.closest(".field");
    if (field instanceof HTMLElement) field.hidden = holder.disabled;
  });
}

/** @param {HTMLElement | undefined} button @param {boolean} enabled */
function setEnabled(button, enabled) {
  // aria-disabled instead of disabled: a button that switches itself off must not lose the focus.
  if (button) button.setAttribute("aria-disabled", String(!enabled));
}

/** @param {HTMLInputElement | undefined} input */
const limitId = (input) => (input ? `${input.id}-limit` : "");

/** Announced when it changes, and not again. @param {HTMLInputElement} input @param {string} words */
function say(input, words) {
  const line = document.getElementById(limitId(input));
  if (line && line.textContent !== words) line.textContent = words;
}

/**
 * What a member pays is worked out by the server alone; until it has answered, nothing is shown.
 * @param {HTMLFormElement} form @param {HTMLInputElement[]} inputs
 * @param {(total: number) => void} show
 */
function memberTotal(form, inputs, show) {
  const query = new URLSearchParams(inputs.map((input) => [input.name, String(quantityOf(input))]));
  const asked = (form.dataset.totalAsked = query.toString());
  fetch(`${form.dataset.totalUrl}?${asked}`)
    .then((answer) => (answer.ok ? answer.json() : Promise.reject(answer.status)))
    .then(({ total }) => {
      // An earlier question may be answered later.
      if (form.dataset.totalAsked === asked) show(total);
    })
    .catch(() => {});
}

/** @param {HTMLFormElement} form @param {HTMLOutputElement} output */
function start(form, output) {
  /** @type {NodeListOf<HTMLInputElement>} */
  const found = form.querySelectorAll("input[data-price]");
  const inputs = [...found];
  const maxTotal = Number(form.dataset.maxTotal) || Infinity;
  const formatMoney = moneyFormat(output.dataset);
  const holders = form.querySelector("#holders");
  const submit = form.querySelector("button[type=submit]");
  const nothing = document.getElementById("nothing-chosen");
  // Where the buyer was last: what is true of all ticket types is said there.
  let last = inputs[0];

  /** Why there is no more of a ticket type; empty if there is. @param {HTMLInputElement} input @param {number} places */
  function limitOf(input, places) {
    if (places >= maxTotal) return form.dataset.limit || "";
    return quantityOf(input) >= Number(input.max) ? input.dataset.limit || "" : "";
  }

  function refresh() {
    const places = inputs.reduce((sum, input) => sum + quantityOf(input), 0);
    const total = inputs.reduce(
      (sum, input) => sum + quantityOf(input) * Number(input.dataset.price),
      0,
    );
    for (const input of inputs) {
      const quantity = quantityOf(input);
      const [fewer, more] = input.parentElement ? input.parentElement.querySelectorAll("button") : [];
      const limit = limitOf(input, places);
      const here = places < maxTotal || input === last;
      setEnabled(fewer, quantity > 0);
      setEnabled(more, limit === "");
      say(input, here ? limit : "");
      if (more) more.setAttribute("aria-describedby", limitId(here ? input : last));
      // The browser says so before it sends more than the server takes.
      input.setCustomValidity(places > maxTotal && input === last ? form.dataset.limit || "" : "");
      const offer = input.closest(".offer");
      if (offer) offer.classList.toggle("offer-chosen", quantity > 0);
      showHolders(form, input, quantity);
    }
    if (holders instanceof HTMLElement) holders.hidden = places === 0;
    if (submit instanceof HTMLElement) setEnabled(submit, places > 0);
    if (nothing) nothing.hidden = places > 0;
    if (form.dataset.totalUrl && places > 0) {
      output.value = "…";
      memberTotal(form, inputs, (lower) => show(lower, places));
    } else {
      delete form.dataset.totalAsked;
      show(total, places);
    }
  }

  /** What it costs, and what that means. @param {number} total @param {number} places */
  function show(total, places) {
    const isFree = total === 0 && places > 0;
    /** @type {NodeListOf<HTMLElement>} */
    const lines = form.querySelectorAll("[data-for-nothing]");
    for (const line of lines) {
      const { toPay = "", forNothing = "" } = line.dataset;
      line.textContent = isFree ? forNothing : toPay;
    }
    const text = isFree ? output.dataset.free || "" : formatMoney(total);
    if (output.value !== text) output.value = text;
  }

  /** @param {HTMLInputElement} input @param {number} step @param {string} sign @param {string} label */
  function stepButton(input, step, sign, label) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = sign;
    const named = input.labels && input.labels[0];
    button.setAttribute("aria-label", `${label}: ${(named && named.textContent) || ""}`);
    button.addEventListener("click", () => {
      last = input;
      if (button.getAttribute("aria-disabled") !== "true") {
        input.value = String(quantityOf(input) + step);
      }
      refresh();
    });
    return button;
  }

  for (const input of inputs) {
    if (input.parentElement) input.parentElement.classList.add("stepper-live");
    input.before(stepButton(input, -1, "−", form.dataset.fewer || ""));
    input.after(stepButton(input, 1, "+", form.dataset.more || ""));
    input.addEventListener("input", () => {
      last = input;
      refresh();
    });
    input.addEventListener("focus", () => input.select());
  }

  if (submit) {
    submit.setAttribute("aria-describedby", "nothing-chosen");
    submit.addEventListener("click", (event) => {
      if (submit.getAttribute("aria-disabled") !== "true") return;
      event.preventDefault();
      if (last) last.focus();
    });
  }
  const line = document.getElementById("total-line");
  if (line) line.hidden = output.dataset.isFree === "true";
  refresh();
  // A browser that comes back to the page puts the old numbers in without an event.
  window.addEventListener("pageshow", refresh);
}

const form = document.getElementById("places-form");
const output = document.getElementById("order-total");
if (form instanceof HTMLFormElement && output instanceof HTMLOutputElement) start(form, output);
