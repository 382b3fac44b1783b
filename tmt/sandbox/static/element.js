// The Payment Element, inside its own frame. What is typed here goes to the sandbox's API and
// nowhere else; the page around it hears only of completeness, focus, height and results.
(() => {
  "use strict";
  const form = document.querySelector("form");
  const texts = JSON.parse(form.dataset.texts);
  const field = Object.fromEntries([...form.elements].map((node) => [node.name, node]));
  const REGIONS = "AD AE AF AG AI AL AM AO AR AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BW BY BZ CA CD CF CG CH CI CK CL CM CN CO CR CV CW CY CZ DE DJ DK DM DO DZ EC EE EG ER ES ET FI FJ FK FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GT GW GY HK HN HR HT HU ID IE IL IM IN IQ IS IT JE JM JO JP KE KG KH KI KM KN KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MK ML MM MN MO MQ MR MS MT MU MV MW MX MY MZ NA NC NE NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PY QA RE RO RS RU RW SA SB SC SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SZ TC TD TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG US UY UZ VA VC VE VG VN VU WF WS XK YE YT ZA ZM ZW".split(" ");
  const BRANDS = [["amex", /^3[47]/, [4, 6, 5], 4], ["diners", /^3[0689]/, [4, 6, 4], 3], ["mastercard", /^(5[1-5]|2[2-7])/, [4, 4, 4, 4], 3], ["discover", /^6(011|5|4[4-9])/, [4, 4, 4, 4], 3], ["unionpay", /^62/, [4, 4, 4, 4], 3], ["jcb", /^35/, [4, 4, 4, 4], 3], ["visa", /^4/, [4, 4, 4, 4], 3]];
  const THEMES = {
    stripe: { colorPrimary: "#0570de", colorBackground: "#ffffff", colorText: "#30313d", colorDanger: "#c0123c" },
    night: { colorPrimary: "#85d996", colorBackground: "#30313d", colorText: "#ffffff", colorDanger: "#fe87a1" },
  };
  let port = null;
  let shown = "";

  const digits = (node) => node.value.replace(/\D/g, "");
  const brand = () => BRANDS.find(([, start]) => start.test(digits(field.number))) || ["", null, [4, 4, 4, 4], 3];
  const total = () => brand()[2].reduce((sum, part) => sum + part, 0);
  const tell = (event, detail) => port?.postMessage({ event, detail });

  function luhn(number) {
    const sum = [...number].reverse().reduce((all, digit, at) => {
      const value = at % 2 ? digit * 2 : +digit;
      return all + (value > 9 ? value - 9 : value);
    }, 0);
    return sum % 10 === 0;
  }

  // The code of what is wrong with a field, or "".
  const CHECKS = {
    number: () => (digits(field.number).length < total() ? "incomplete_number" : luhn(digits(field.number)) ? "" : "invalid_number"),
    expiry() {
      const value = digits(field.expiry);
      if (value.length < 4) return "incomplete_expiry";
      const now = new Date();
      const month = +value.slice(0, 2);
      const year = 2000 + +value.slice(2);
      if (month < 1 || month > 12) return "invalid_expiry_month";
      return year * 12 + month < now.getFullYear() * 12 + now.getMonth() + 1 ? "invalid_expiry_year_past" : "";
    },
    cvc: () => (digits(field.cvc).length < brand()[3] ? "incomplete_cvc" : ""),
    postal: () => (field.country.value === "US" && digits(field.postal).length < 5 ? "incomplete_zip" : ""),
  };

  function show(name, code) {
    const node = field[name];
    const place = document.getElementById(`${name}-error`);
    place.textContent = code ? texts[code] : "";
    node.setAttribute("aria-invalid", String(Boolean(code)));
    if (code) node.setAttribute("aria-describedby", place.id);
    else node.removeAttribute("aria-describedby");
  }

  // Shows every problem, moves to the first one, and returns it as Stripe's validation_error.
  function validate() {
    let first = null;
    for (const [name, check] of Object.entries(CHECKS)) {
      const code = check();
      show(name, code);
      if (code && !first) first = { name, code };
    }
    if (!first) return null;
    field[first.name].focus();
    return { type: "validation_error", code: first.code, message: texts[first.code] };
  }

  function grouped(value, groups) {
    let at = 0;
    const parts = groups.map((size) => value.slice(at, (at += size)));
    return parts.filter(Boolean).join(" ");
  }

  function write(node, text) {
    if (node.value === text) return;
    const before = node.value.slice(0, node.selectionStart).replace(/\D/g, "").length;
    const atEnd = node.selectionStart === node.value.length;
    node.value = text;
    let at = 0;
    for (let seen = 0; seen < before && at < text.length; at += 1) if (/\d/.test(text[at])) seen += 1;
    if (document.activeElement === node) node.setSelectionRange(atEnd ? text.length : at, atEnd ? text.length : at);
  }

  const FORMATS = {
    number: () => write(field.number, grouped(digits(field.number).slice(0, total()), brand()[2])),
    expiry(deleting) {
      let value = digits(field.expiry);
      if (/^[2-9]/.test(value)) value = `0${value}`;
      value = value.length === 6 ? value.slice(0, 2) + value.slice(4) : value.slice(0, 4);
      const slash = value.length > 2 || (value.length === 2 && !deleting);
      write(field.expiry, slash ? `${value.slice(0, 2)} / ${value.slice(2)}` : value);
    },
    cvc: () => write(field.cvc, digits(field.cvc).slice(0, brand()[3])),
    postal: () => field.country.value === "US" && write(field.postal, digits(field.postal).slice(0, 5)),
  };

  function changed() {
    form.dataset.brand = brand()[0];
    document.getElementById("postal-row").hidden = field.country.value !== "US";
    const complete = Object.values(CHECKS).every((check) => !check());
    const empty = ["number", "expiry", "cvc", "postal"].every((name) => !field[name].value);
    const detail = { complete, empty, collapsed: false, value: { type: "card" } };
    if (JSON.stringify(detail) !== shown) tell("change", detail);
    shown = JSON.stringify(detail);
  }

  function dress({ theme = "stripe", variables = {} } = {}) {
    const values = { ...(THEMES[theme] || THEMES.stripe), ...variables };
    document.documentElement.dataset.theme = theme;
    for (const [name, value] of Object.entries(values)) {
      document.documentElement.style.setProperty(`--${name}`, String(value));
    }
  }

  async function confirm({ key, locale, secret, params }) {
    const error = validate();
    if (error) return { error };
    const [month, year] = field.expiry.value.split(" / ");
    const given = params.payment_method_data || {};
    const address = { country: field.country.value, postal_code: field.country.value === "US" ? field.postal.value : undefined };
    const billing = { ...given.billing_details, address: { ...address, ...given.billing_details?.address } };
    const card = { number: digits(field.number), exp_month: +month, exp_year: +year, cvc: field.cvc.value };
    const data = { ...given, type: "card", card, billing_details: billing };
    for (const node of form.elements) node.readOnly = true;
    try {
      return await Stripe._request(key, locale, secret, "/confirm", { ...params, payment_method_data: data, use_stripe_sdk: true });
    } finally {
      for (const node of form.elements) node.readOnly = false;
    }
  }

  function fill({ defaultValues }) {
    const address = defaultValues?.billingDetails?.address || {};
    if (REGIONS.includes(address.country)) field.country.value = address.country;
    if (address.postal_code && !field.postal.value) field.postal.value = address.postal_code;
  }

  const OPERATIONS = {
    confirm,
    submit() {
      const error = validate();
      return error ? { error } : { selectedPaymentMethod: "card" };
    },
    focus: () => field.number.focus(),
    blur: () => document.activeElement.blur(),
    clear() {
      for (const name of ["number", "expiry", "cvc", "postal"]) field[name].value = "";
      changed();
    },
    update({ appearance, options }) {
      if (appearance) dress(appearance);
      if (options) fill(options);
    },
  };

  const names = new Intl.DisplayNames([document.documentElement.lang], { type: "region" });
  const regions = REGIONS.map((code) => [names.of(code), code]).sort((a, b) => a[0].localeCompare(b[0]));
  field.country.append(...regions.map(([name, code]) => new Option(name, code)));
  const home = new Intl.Locale(navigator.language).maximize().region;
  field.country.value = REGIONS.includes(home) ? home : "US";

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", ({ target, inputType = "" }) => {
    FORMATS[target.name]?.(inputType.startsWith("delete"));
    if (CHECKS[target.name] && target.getAttribute("aria-invalid") === "true") show(target.name, CHECKS[target.name]());
    changed();
  });
  form.addEventListener("focusin", () => tell("focus", {}));
  form.addEventListener("focusout", ({ target, relatedTarget }) => {
    if (target.value && CHECKS[target.name]) show(target.name, CHECKS[target.name]());
    if (!relatedTarget) tell("blur", {});
  });
  addEventListener("keydown", (event) => event.key === "Escape" && tell("escape", {}));

  addEventListener("message", (event) => {
    if (port || event.source !== parent || event.data?.type !== "sandbox:init") return;
    port = event.ports[0];
    port.onmessage = async ({ data }) => {
      const fault = ({ message }) => ({ error: { type: "invalid_request_error", message } });
      const result = await Promise.resolve(data).then(OPERATIONS[data.operation]).catch(fault);
      port.postMessage({ id: data.id, result });
    };
    dress(event.data.appearance);
    fill(event.data.options || {});
    changed();
    const size = () => port.postMessage({ event: "resize", height: Math.ceil(form.getBoundingClientRect().height) });
    new ResizeObserver(size).observe(form);
    size();
    tell("ready", {});
  });
})();
