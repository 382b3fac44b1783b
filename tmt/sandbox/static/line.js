// The Card Element and its three parts, and the IBAN Element: a line of fields that the page frames itself.
import { card, cardData, digits, field, FORMATS, iban, problem } from "./fields.js";
import { form, inputs, send, show, typedIn, validate, validationError } from "./form.js";
import { applyRules, emit, listen } from "./frame.js";

const { abroad } = JSON.parse(form.dataset.facts);
const all = inputs.map(({ dataset }) => dataset.field);
// A card of a country where banks check no postal code is asked for none.
const asksPostal = () => field.postal && !field.postal.hidden;
const names = () => all.filter((name) => name !== "postal" || asksPostal());
let hidePostalCode = false;
let lastChange = "";

// The first problem that is no longer a matter of going on typing.
function visibleError() {
  const isOver = (name) => field[name].value && (!problem(name).startsWith("incomplete") || document.activeElement !== field[name]);
  const wrong = names().find((name) => problem(name) && (isOver(name) || field[name].getAttribute("aria-invalid") === "true"));
  return wrong && validationError(problem(wrong));
}
function changed() {
  const brand = card().brand || "unknown";
  form.dataset.brand = card().brand;
  if (field.postal) field.postal.hidden = hidePostalCode || abroad.includes(digits("number"));
  for (const name of names()) field[name].classList.toggle("is-complete", !problem(name));
  const detail = { empty: !typedIn(all), complete: !names().some(problem), error: visibleError() };
  if (field.number) detail.brand = brand;
  if (field.postal) detail.value = { postalCode: field.postal.value };
  if (field.iban) Object.assign(detail, { country: iban().slice(0, 2), bankName: "" });
  if (lastChange && JSON.stringify(detail) !== lastChange) emit("change", detail);
  lastChange = JSON.stringify(detail);
}
form.addEventListener("input", ({ target, inputType = "" }) => {
  const { field: name } = target.dataset;
  FORMATS[name]?.(inputType.startsWith("delete"));
  const isFull = target.value && !problem(name).startsWith("incomplete");
  if (target.getAttribute("aria-invalid") === "true" || isFull) show(name);
  // As on paper: from a complete number to the expiry date, and on to the code.
  const next = !problem(name) && name !== "postal" && !inputType.startsWith("delete") && field[names()[names().indexOf(name) + 1]];
  if (next && target.selectionStart === target.value.length && (name !== "cvc")) next.focus();
  changed();
});
form.addEventListener("focusout", ({ target }) => {
  if (target.value) show(target.dataset.field);
  queueMicrotask(changed);
});

const SELECTORS = { base: "input", complete: "input.is-complete", empty: "input:placeholder-shown", invalid: "input[aria-invalid=true]" };
function fill({ style = {}, value = {}, placeholder, disabled = false, hideIcon, showIcon, ...options }) {
  hidePostalCode = Boolean(options.hidePostalCode);
  if (value.postalCode) field.postal.value = value.postalCode;
  if (placeholder !== undefined) inputs[0].placeholder = placeholder;
  for (const input of inputs) input.disabled = disabled;
  form.classList.toggle("without-icon", inputs.length > 1 ? Boolean(hideIcon) : !showIcon);
  const pairs = [];
  for (const [state, selector] of Object.entries(SELECTORS)) {
    const { [state]: values = {} } = style;
    pairs.push([`.fields ${selector}`, values]);
    for (const [part, more] of Object.entries(values)) {
      if (typeof more === "object" && CSS.supports(`selector(${selector}${part})`)) pairs.push([`.fields ${selector}${part}`, more]);
    }
  }
  applyRules(pairs);
}

// What the other two frames of the card send: their part of it, or {error}.
const lent = (port) => new Promise((resolve) => { port.onmessage = ({ data }) => resolve(data); });
listen({
  async send(request, ports) {
    const invalid = validate(names());
    const others = await Promise.all(ports.map(lent));
    const failed = [invalid, ...others].find((part) => part && part.error);
    if (failed) return changed(), failed;
    const result = await send(request, (method) => {
      if (field.iban) return { sepa_debit: { iban: iban() } };
      const data = Object.assign(cardData(), ...others);
      if (request.into === "card") return asksPostal() ? { ...data, address_zip: field.postal.value } : data;
      if (!asksPostal()) return { card: data };
      const billing = method.billing_details || {};
      return { card: data, billing_details: { ...billing, address: { ...billing.address, postal_code: field.postal.value } } };
    });
    return result;
  },
  lend: (_request, [port]) => (port.postMessage(validate(names(), false) || cardData()), changed()),
  focus: () => inputs[0].focus(),
  clear() {
    for (const input of inputs) input.value = "";
    for (const name of all) show(name, "");
    changed();
  },
  update(data) {
    if (data.options) fill(data.options);
    changed();
  },
});
