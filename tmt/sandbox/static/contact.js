// The Link Authentication and Address Elements: fields whose values belong to the page.
import { american, field, FORMATS, problem } from "./fields.js";
import { form, inputs, place, show, texts, typedIn, validate } from "./form.js";
import { emit, listen } from "./frame.js";

const { states, stateNames } = JSON.parse(form.dataset.facts);
const isAddress = Boolean(field.country);
const OPTIONAL = ["line2"];
let shown = inputs.map(({ dataset }) => dataset.field);
let lastChange = "";
const required = () => [...shown, "state"].filter((name) => field[name] && !OPTIONAL.includes(name) && !field[name].closest(".row").hidden);
const text = (name) => field[name].value.trim();

function value() {
  if (!isAddress) return { email: text("email") };
  const [line1, line2, city, state, postal_code, country] = ["line1", "line2", "city", "state", "postal", "country"].map(text);
  const names = shown.includes("first") ? { firstName: text("first"), lastName: text("last") } : {};
  const name = shown.includes("first") ? `${names.firstName} ${names.lastName}`.trim() : shown.includes("name") ? text("name") : "";
  const phone = shown.includes("phone") ? { phone: text("phone") } : {};
  return { name, ...names, address: { line1, line2: line2 || null, city, state, postal_code, country }, ...phone };
}
function changed(always = false) {
  for (const row of form.querySelectorAll(".row")) row.hidden = !["country", "state", ...shown].includes(row.dataset.name);
  if (isAddress) {
    const offered = states[field.country.value] || [];
    field.state.closest(".row").hidden = !offered.length;
    if (field.state.dataset.country !== field.country.value) {
      field.state.replaceChildren(new Option("", ""), ...offered.map(([code, label]) => new Option(label, code)));
      field.state.dataset.country = field.country.value;
    }
    place("postal-label").textContent = american() ? texts.zip : texts.postal;
    place("state-label").textContent = stateNames[field.country.value] || texts.state;
  }
  const detail = { empty: !typedIn(shown), complete: !required().some(problem), value: value() };
  if (isAddress) detail.isNewAddress = true;
  if (always || JSON.stringify(detail) !== lastChange) emit("change", detail);
  lastChange = JSON.stringify(detail);
}
function fill({ mode, allowedCountries, defaultValues = {}, display = {}, fields = {}, validation = {} }) {
  const { email, name, firstName, lastName, phone, address = {} } = defaultValues;
  if (isAddress) {
    for (const option of field.country.options) option.hidden = option.disabled = Boolean(allowedCountries?.length) && !allowedCountries.includes(option.value);
    const possible = [...field.country.options].filter((option) => !option.disabled).map((option) => option.value);
    if (possible.includes(address?.country)) field.country.value = address.country;
    if (!possible.includes(field.country.value)) field.country.value = possible[0];
    const names = fields.name === "never" ? [] : display.name === "split" ? ["first", "last"] : ["name"];
    shown = [...names, "line1", "line2", "city", "postal", ...(fields.phone === "always" ? ["phone"] : [])];
    if (validation.phone?.required === "never") OPTIONAL.push("phone");
    place("name-label").textContent = display.name === "organization" ? texts.organization : texts.name;
    for (const node of [...inputs, field.country, field.state]) {
      node.autocomplete = `${mode} ${node.dataset.complete}`;
      node.id = node.id.replace(/^\w*-/, `${mode}Address-`);
      document.querySelector(`label[id="${node.dataset.field}-label"]`).htmlFor = node.id;
    }
  }
  changed();
  const defaults = { email, name, first: firstName, last: lastName, phone, line1: address?.line1, line2: address?.line2, city: address?.city, state: address?.state, postal: address?.postal_code };
  for (const [key, text] of Object.entries(defaults)) if (field[key] && text) field[key].value ||= text;
}

if (isAddress) {
  field.country.value = new Intl.Locale(navigator.language).maximize().region;
  if (!field.country.value) field.country.value = "US";
}
const onInput = ({ target, inputType = "" }) => {
  const { field: name } = target.dataset;
  FORMATS[name]?.(inputType.startsWith("delete"));
  if (target.getAttribute("aria-invalid") === "true") show(name);
  changed();
};
form.addEventListener("input", onInput);
form.addEventListener("focusout", ({ target }) => inputs.includes(target) && target.value && show(target.dataset.field));
listen({
  submit: () => validate(required()),
  read: () => changed(true),
  focus: () => field[shown[0]].focus(),
  clear() {
    for (const input of inputs) input.value = "";
    changed();
  },
  update(data) {
    if (data.options) fill(data.options);
    changed();
  },
});
