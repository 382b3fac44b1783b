// The Payment Element, inside its own frame. What is typed here goes to the sandbox's API and
// nowhere else; the page that contains it learns only of completeness, focus, height and results.
import { american, card, cardData, field, FORMATS, iban, problem } from "./fields.js";
import { form, inputs, place, send, show, texts, typedIn, validate } from "./form.js";
import { emit, listen } from "./frame.js";

const { kinds, foreign } = JSON.parse(form.dataset.facts);
const radios = [...form.elements.method];
const ADDRESS = { line1: "line1", city: "city", country: "country", postal: "postal_code" };
const FIELDS = {
  card: () => ["number", "expiry", "cvc", "country", ...(american() ? ["postal"] : [])],
  link: () => ["email"],
  oxxo: () => ["name", "email"],
  sepa_debit: () => ["iban", "name", "email", ...(foreign.includes(iban().slice(0, 2) || "-") ? Object.keys(ADDRESS) : [])],
};
const method = () => form.elements.method.value;
// What another element asks for, or the page itself, is not asked for here.
const fields = () => (FIELDS[method()]?.() || []).filter((name) => !elsewhere.includes(name));
let options = {};
let elsewhere = [];
let lastChange = "";

function check() {
  const invalid = validate(fields());
  if (invalid || method()) return invalid;
  radios[0].focus();
  const code = "incomplete_payment_details";
  return { error: { type: "validation_error", code, message: texts[code] } };
}

function changed() {
  const names = fields();
  form.dataset.brand = card().brand;
  for (const row of form.querySelectorAll(".row")) row.hidden = !names.includes(row.dataset.name);
  for (const { value, checked, parentElement } of radios) {
    const panel = place(`${value}-panel`);
    panel.hidden = !checked;
    if (checked && !panel.contains(place("address"))) panel.querySelector(".note").before(place("owner"), place("address"));
    parentElement.classList.toggle("Tab--selected", checked);
  }
  place("postal-label").textContent = american() ? texts.zip : texts.postal;
  const empty = names.length > 0 && !typedIn(names);
  const complete = Boolean(method()) && !names.some(problem);
  const detail = { complete, empty, collapsed: !method(), value: { type: method() } };
  if (JSON.stringify(detail) !== lastChange) emit("change", detail);
  lastChange = JSON.stringify(detail);
}
function choose(type) {
  for (const radio of radios) radio.checked = radio.value === type;
  changed();
}
// Offer the kinds of the intent; of one that is created later, those that it will take.
function offerMethods({ payment_method_types: types, currency = "", mode, captureMethod, ...more }) {
  const isOn = Object.keys(kinds).filter((name) => !kinds[name].off);
  const { allowedPaymentMethodTypes: allowed = isOn, excludedPaymentMethodTypes: excluded = [] } = more;
  const isPossible = ({ setup, capture }) => (mode !== "setup" || setup) && (captureMethod !== "manual" || capture);
  const hasCurrency = ({ currencies }) => !currencies || currencies.split(" ").includes(currency.toLowerCase());
  const willTake = (name) => isPossible(kinds[name]) && hasCurrency(kinds[name]) && allowed.includes(name) && !excluded.includes(name);
  const offered = radios.filter(({ value }) => (types ? types.includes(value) : willTake(value)));
  for (const radio of radios) radio.parentElement.hidden = offered.length < 2 || !offered.includes(radio);
  const collapsed = offered.length > 1 && !lastChange && options.layout?.defaultCollapsed;
  if (!offered.some(({ checked }) => checked)) choose(collapsed ? "" : offered[0]?.value);
}

function fill({ layout = "tabs", defaultValues = {}, business }) {
  form.dataset.layout = (layout.type || layout) === "accordion" ? "accordion" : "tabs";
  place("mandate").textContent = texts.mandate.replace("{business}", business?.name || texts.this_shop);
  const { name, email, address = {} } = defaultValues.billingDetails || {};
  const defaults = { name, email, line1: address.line1, city: address.city, postal: address.postal_code };
  for (const [key, value] of Object.entries(defaults)) field[key].value ||= value || "";
  if ([...field.country.options].some(({ value }) => value === address.country)) field.country.value = address.country;
}

// The parameters of the method. `billing` is what the page and the other elements know of the buyer.
function methodData(billing = {}) {
  const type = method();
  const typed = { address: { ...billing.address } };
  for (const name of fields()) {
    if (name in ADDRESS) typed.address[ADDRESS[name]] = field[name].value;
    else if (["name", "email"].includes(name)) typed[name] = field[name].value.trim();
  }
  const details = { card: { card: cardData() }, sepa_debit: { sepa_debit: { iban: iban() } } };
  return { type, ...details[type], billing_details: { ...billing, ...typed } };
}

field.country.value = new Intl.Locale(navigator.language).maximize().region;
if (!field.country.value) field.country.value = "US";
form.addEventListener("input", ({ target, inputType = "" }) => {
  const { field: name = target.name } = target.dataset;
  FORMATS[name]?.(inputType.startsWith("delete"));
  if (target.getAttribute("aria-invalid") === "true") show(name);
  changed();
});
form.addEventListener("focusout", ({ target }) => inputs.includes(target) && target.value && show(target.dataset.field));

listen({
  async send(request) {
    const invalid = check();
    if (invalid) return invalid;
    const result = await send(request, ({ billing_details }) => methodData(billing_details));
    if (/iban|^sepa_debit_/.test(result.error?.code)) show("iban", result.error.message);
    return result;
  },
  submit: () => check() || { selectedPaymentMethod: method() },
  focus: () => (field[fields()[0]] || radios.find(({ checked }) => checked) || radios[0]).focus(),
  collapse: () => radios.some(({ parentElement }) => !parentElement.hidden) && choose(""),
  clear() {
    for (const input of inputs) input.value = "";
    changed();
  },
  update(data) {
    if (data.options) fill((options = data.options));
    if (data.elsewhere) elsewhere = data.elsewhere;
    if (data.offer) offerMethods(data.offer);
    changed();
  },
});
