// The pay page: mounts Stripe's Payment Element and confirms the PaymentIntent. The same file
// serves Stripe and the sandbox; it is type-checked against Stripe.js.
// @ts-check

/** @typedef {import("@stripe/stripe-js").StripeConstructor} StripeConstructor */
/** @typedef {import("@stripe/stripe-js").StripeError} StripeError */
/** @typedef {import("@stripe/stripe-js").Appearance} Appearance */

/**
 * @template {HTMLElement} T
 * @param {string} id
 * @param {{ new (): T }} kind
 * @returns {T}
 */
function element(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`#${id} is missing on the page`);
  return found;
}

/** A value out of tokens.css. @param {string} name @param {string} otherwise */
function token(name, otherwise) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim() || otherwise;
}

/** The element wears the page's colours, in the dark too. @returns {Appearance} */
function appearance() {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  return {
    theme: dark ? "night" : "stripe",
    variables: {
      colorPrimary: token("--focus", "#1b49e0"),
      colorBackground: token("--surface", "#ffffff"),
      colorText: token("--ink", "#17161c"),
      colorDanger: token("--bad", "#ad0f24"),
      borderRadius: token("--radius", "6px"),
      fontSizeBase: "16px",
    },
  };
}

const form = element("payment-form", HTMLFormElement);
const button = element("pay-button", HTMLButtonElement);
const message = element("payment-message", HTMLElement);
const { publishableKey = "", clientSecret = "", returnUrl = "" } = form.dataset;
const { locale = "es", amountLabel = "", busyLabel = "", unexpected = "" } = form.dataset;

/** @param {string} text */
function tell(text) {
  message.textContent = text;
  message.hidden = text === "";
}

/** @param {boolean} busy */
function setBusy(busy) {
  button.disabled = busy;
  button.textContent = busy ? busyLabel : amountLabel;
  form.setAttribute("aria-busy", String(busy));
  document.dispatchEvent(new CustomEvent("tmt:paying", { detail: { busy } }));
}

// What a buyer can do something about, beside cards and fields.
const FOR_BUYERS = [
  "payment_intent_authentication_failure",
  "invalid_bank_account_iban",
  "sepa_debit_bank_not_supported",
  "sepa_debit_debits_not_supported",
];

/** Stripe's texts on these errors are written for buyers; the others are not. @param {StripeError} error */
function textOf({ type, code = "", message: text }) {
  const forBuyers = type === "card_error" || type === "validation_error" || FOR_BUYERS.includes(code);
  return forBuyers && text ? text : unexpected;
}

/** @param {StripeConstructor} constructor */
function start(constructor) {
  const stripe = constructor(publishableKey, { locale: locale === "en" ? "en" : "es" });
  const elements = stripe.elements({ clientSecret, appearance: appearance(), loader: "auto" });
  const payment = elements.create("payment", { layout: "tabs" });
  let paying = false;
  let method = "";

  // What was wrong with one method says nothing about another.
  payment.on("change", ({ value }) => {
    if (value.type !== method) tell("");
    method = value.type;
  });
  payment.on("ready", () => {
    button.disabled = false;
  });
  payment.on("loaderror", () => tell(unexpected));
  payment.mount("#payment-element");

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    void elements.update({ appearance: appearance() });
  });

  /** @returns {Promise<boolean>} whether the page is being left */
  async function pay() {
    const result = await stripe.confirmPayment({
      elements,
      confirmParams: { return_url: returnUrl },
      redirect: "if_required",
    });
    if (!result.error) {
      // What really happened is asked of Stripe by the server.
      location.assign(returnUrl);
      return true;
    }
    const state = result.error.payment_intent?.status;
    if (state === "succeeded" || state === "processing" || state === "canceled") {
      // Another tab was faster, or the time ran out: the order's page knows.
      location.assign(returnUrl);
      return true;
    }
    tell(textOf(result.error));
    return false;
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (paying) return;
    paying = true;
    tell("");
    setBusy(true);
    let leaving = false;
    try {
      leaving = await pay();
    } catch {
      tell(unexpected);
    }
    if (!leaving) {
      paying = false;
      setBusy(false);
    }
  });
}

const constructor = /** @type {{ Stripe?: StripeConstructor }} */ (/** @type {unknown} */ (window))
  .Stripe;
if (constructor) start(constructor);
else tell(unexpected);

// Coming back with the browser's back button must not show a page that thinks it is still paying.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});
