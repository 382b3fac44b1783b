// The Payment Element, inside its own frame. What is typed here goes to the sandbox's API and
// nowhere else; the page that contains it learns only of completeness, focus, height and results.
import { american, card, digits, field, FORMATS, iban, problem } from "./fields.js";
import { emit, listen } from "./frame.js";

const form = document.querySelector("form");
const place = (id) => document.getElementById(id);
const { kinds, foreign, texts } = JSON.parse(form.dataset.facts);
const radios = [...form.elements.method];
const inputs = [...form.querySelectorAll("input[type=text]")];
const ADDRESS = { line1: "line1", city: "city", country: "country", postal: "postal_code" };
const FIELDS = {
  card: () => ["number", "expiry", "cvc", "country", ...(american() ? ["postal"] : [])],
  oxxo: () => ["name", "email"],
  sepa_debit: () => ["iban", "name", "email", ...(foreign.includes(iban().slice(0, 2) || "-") ? Object.keys(ADDRESS) : [])],
};
const method = () => form.elements.method.value;
const fields = () => FIELDS[method()]?.() || [];
let options = {};
let lastChange = "";

function show(name, text = texts[problem(name)] || "") {
  place(`${name}-error`).textContent = text;
  field[name].setAttribute("aria-invalid", String(Boolean(text)));
  field[name].classList.toggle("Input--invalid", Boolean(text));
}

// Shows every problem, moves to the first one, and returns it as Stripe's validation_error.
function validate() {
  for (const name of fields()) show(name);
  const wrong = fields().find(problem);
  const code = wrong ? problem(wrong) : method() ? "" : "incomplete_payment_details";
  if (code) (field[wrong] || radios[0]).focus();
  return code ? { error: { type: "validation_error", code, message: texts[code] } } : null;
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
  const empty = names.length > 0 && !inputs.some(({ name, value }) => names.includes(name) && value);
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

function details() {
  if (method() === "sepa_debit") return { sepa_debit: { iban: iban() } };
  if (["ideal", "oxxo"].includes(method())) return {};
  const [month, year] = field.expiry.value.split(" / ");
  return { card: { number: digits("number"), exp_month: +month, exp_year: +year, cvc: field.cvc.value } };
}

async function confirm({ caller, secret, params }) {
  const invalid = validate();
  if (invalid) return invalid;
  const data = params.payment_method_data || {};
  const billing = { ...data.billing_details, address: { ...data.billing_details?.address } };
  for (const name of fields()) {
    if (name in ADDRESS) billing.address[ADDRESS[name]] = field[name].value;
    else if (["name", "email"].includes(name)) billing[name] = field[name].value.trim();
  }
  const completed = { ...data, type: method(), ...details(), billing_details: billing };
  for (const input of inputs) input.readOnly = true;
  const result = await Stripe._request(caller, secret, { ...params, payment_method_data: completed });
  for (const input of inputs) input.readOnly = false;
  if (/iban|^sepa_debit_/.test(result.error?.code)) show("iban", result.error.message);
  return result;
}

field.country.value = new Intl.Locale(navigator.language).maximize().region;
if (!field.country.value) field.country.value = "US";
form.addEventListener("input", ({ target, inputType = "" }) => {
  FORMATS[target.name]?.(inputType.startsWith("delete"));
  if (target.getAttribute("aria-invalid") === "true") show(target.name);
  changed();
});
form.addEventListener("focusout", ({ target }) => inputs.includes(target) && target.value && show(target.name));

listen({
  confirm,
  submit: () => validate() || { selectedPaymentMethod: method() },
  focus: () => (field[fields()[0]] || radios.find(({ checked }) => checked) || radios[0]).focus(),
  collapse: () => radios.some(({ parentElement }) => !parentElement.hidden) && choose(""),
  clear() {
    for (const input of inputs) input.value = "";
    changed();
  },
  update(data) {
    if (data.options) fill((options = data.options));
    if (data.offer) offerMethods(data.offer);
    changed();
  },
});
