// The choice of places: buttons beside each number, the running total, and a name field for each place chosen.
// The form works without this file; nothing here is needed to reserve.

const form = document.querySelector("#places-form");
const inputs = [...form.querySelectorAll("input[data-price]")];
const maxTotal = Number(form.dataset.maxTotal) || Infinity;
const output = document.querySelector("#order-total");

function quantityOf(input) {
  const typed = Math.trunc(Number(input.value)) || 0;
  return Math.min(Math.max(typed, 0), Number(input.max));
}

function moneyFormat({ currency, locale, exponent }) {
  const format = new Intl.NumberFormat(locale, { style: "currency", currency: currency.toUpperCase() });
  const digits = exponent === "" ? format.resolvedOptions().maximumFractionDigits : Number(exponent);
  return (minor) => format.format(minor / 10 ** digits);
}

const formatMoney = moneyFormat(output.dataset);

function showHolders(input, quantity) {
  const group = form.querySelector(`[data-holders="${input.dataset.offer}"]`);
  group.hidden = quantity === 0;
  group.querySelectorAll("input").forEach((holder, index) => {
    // A disabled field is not sent, so a place that was taken back leaves no name behind.
    holder.disabled = index >= quantity;
    holder.closest(".field").hidden = holder.disabled;
  });
}

function setEnabled(button, enabled) {
  // aria-disabled instead of disabled: a button that switches itself off must not lose the focus.
  button.setAttribute("aria-disabled", String(!enabled));
}

function refresh() {
  const places = inputs.reduce((sum, input) => sum + quantityOf(input), 0);
  const total = inputs.reduce((sum, input) => sum + quantityOf(input) * Number(input.dataset.price), 0);
  for (const input of inputs) {
    const quantity = quantityOf(input);
    const [fewer, more] = input.parentElement.querySelectorAll("button");
    setEnabled(fewer, quantity > 0);
    setEnabled(more, quantity < Number(input.max) && places < maxTotal);
    input.closest(".offer").classList.toggle("offer-chosen", quantity > 0);
    showHolders(input, quantity);
  }
  form.querySelector("#holders").hidden = places === 0;
  const text = formatMoney(total);
  if (output.value !== text) output.value = text;
}

function stepButton(input, step, sign, label) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = sign;
  button.setAttribute("aria-label", `${label}: ${input.labels[0].textContent}`);
  button.addEventListener("click", () => {
    if (button.getAttribute("aria-disabled") === "true") return;
    input.value = String(quantityOf(input) + step);
    refresh();
  });
  return button;
}

for (const input of inputs) {
  input.parentElement.classList.add("stepper-live");
  input.before(stepButton(input, -1, "−", form.dataset.fewer));
  input.parentElement.append(stepButton(input, 1, "+", form.dataset.more));
  input.addEventListener("input", refresh);
  input.addEventListener("focus", () => input.select());
}

document.querySelector("#total-line").hidden = false;
refresh();
// A browser that comes back to the page puts the old numbers in without an event.
window.addEventListener("pageshow", refresh);
