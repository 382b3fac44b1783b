// The fields of the frames: formatting and validation. A field has Stripe's name, and ours in data-field.
const form = document.querySelector("form");
const { brands, ibans } = JSON.parse(form.dataset.facts);
export const field = Object.fromEntries([...form.elements].map((node) => [node.dataset.field || node.name, node]));
export const digits = (name) => (field[name] ? field[name].value.replace(/\D/g, "") : "");
export const iban = () => field.iban.value.replace(/[^0-9a-z]/gi, "").toUpperCase();
export const american = () => Boolean(field.country) && field.country.value === "US";
export const card = () => brands.find(({ start }) => new RegExp(start).test(digits("number")));
const total = () => card().groups.reduce((sum, part) => sum + part, 0);

function luhn(number) {
  const doubled = [...number].reverse().map((digit, at) => (at % 2 ? [0, 2, 4, 6, 8, 1, 3, 5, 7, 9][digit] : +digit));
  return doubled.reduce((sum, digit) => sum + digit, 0) % 10 === 0;
}
// ISO 13616: the first four letters go to the end, letters count from ten, the rest by 97 is one.
const mod97 = (text) => BigInt([...text.slice(4), ...text.slice(0, 4)].map((letter) => parseInt(letter, 36)).join("")) % 97n;
// Where the number is typed elsewhere, the code may have the length of any brand.
const cvcLengths = () => (field.number ? [card().cvc, card().cvc] : [3, 4]);
const missing = (name) => (field[name].value.trim() ? "" : `incomplete_${name}`);

const CHECKS = {
  number: () => (digits("number").length < total() ? "incomplete_number" : luhn(digits("number")) ? "" : "invalid_number"),
  expiry() {
    const [month, year] = [+digits("expiry").slice(0, 2), 2000 + +digits("expiry").slice(2)];
    if (digits("expiry").length < 4) return "incomplete_expiry";
    if (month < 1 || month > 12) return "invalid_expiry_month";
    const now = new Date();
    return year * 12 + month < now.getFullYear() * 12 + now.getMonth() + 1 ? "invalid_expiry_year_past" : "";
  },
  cvc: () => (digits("cvc").length < cvcLengths()[0] ? "incomplete_cvc" : ""),
  postal: () => (american() && digits("postal").length < 5 ? "incomplete_zip" : missing("postal")),
  email: () => missing("email") || (/^[^\s@]+@[^\s@]+\.[^\s@]+$/.test(field.email.value.trim()) ? "" : "invalid_email"),
  iban() {
    const [value, length] = [iban(), ibans[iban().slice(0, 2)]];
    if (value.length > 1 && !length) return "invalid_iban_country_code";
    if (!length || value.length < length) return "incomplete_iban";
    return value.length === length && mod97(value) === 1n ? "" : "invalid_iban";
  },
};
/** A card as the API takes it, as far as it is typed here. */
export function cardData() {
  const [month, year] = field.expiry ? field.expiry.value.split(" / ") : [];
  return {
    ...(field.number && { number: digits("number") }),
    ...(field.expiry && { exp_month: +month, exp_year: +year }),
    ...(field.cvc && { cvc: field.cvc.value }),
  };
}
/** The code of what is wrong with a field, or "". */
export const problem = (name) => (CHECKS[name] || missing)(name);

function grouped(value, groups) {
  let at = 0;
  return groups.map((size) => value.slice(at, (at += size))).filter(Boolean).join(" ");
}
// Writes the text anew and leaves the cursor behind the same letter.
function write(node, text) {
  if (node.value === text) return;
  const before = node.value.slice(0, node.selectionStart).replace(/\W/g, "").length;
  let at = node.selectionStart === node.value.length ? text.length : 0;
  node.value = text;
  for (let passed = 0; passed < before && at < text.length; at += 1) if (/\w/.test(text[at])) passed += 1;
  if (document.activeElement === node) node.setSelectionRange(at, at);
}

/** Writes a field as it is read best; by name. */
export const FORMATS = {
  number: () => write(field.number, grouped(digits("number").slice(0, total()), card().groups)),
  expiry(deleting) {
    let value = digits("expiry").replace(/^[2-9]/, "0$&");
    value = value.length === 6 ? value.slice(0, 2) + value.slice(4) : value.slice(0, 4);
    const slash = value.length > 2 || (value.length === 2 && !deleting);
    write(field.expiry, slash ? `${value.slice(0, 2)} / ${value.slice(2)}` : value);
  },
  cvc: () => write(field.cvc, digits("cvc").slice(0, cvcLengths()[1])),
  postal: () => american() && write(field.postal, digits("postal").slice(0, 5)),
  iban: () => write(field.iban, grouped(iban().slice(0, 34), Array(9).fill(4))),
};
