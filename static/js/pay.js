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
const loading = element("payment-loading", HTMLElement);
const reload = element("payment-reload", HTMLElement);
const { publishableKey = "", clientSecret = "", returnUrl = "", stripeJs = "" } = form.dataset;
const { name = "", email = "" } = form.dataset;

/** A text of the page's, in its language of this moment. @param {string} key */
const text = (key) => form.dataset[key] || "";

/** @returns {"en" | "es"} */
const language = () => (form.dataset.locale === "en" ? "en" : "es");

// How long the form may load before the page offers to load it again.
const SLOW = 20000;

// Which of the page's own texts is shown; empty for Stripe's.
let shown = "";

/** @param {string} words */
function tell(words) {
  shown = "";
  message.textContent = words;
  message.hidden = words === "";
}

/** One of the page's own texts, which follows its language. @param {string} key */
function tellText(key) {
  tell(text(key));
  shown = key;
}

/** Says why there is no payment form, and offers to load it again. @param {"blocked" | "slow"} why */
function offerReload(why) {
  loading.hidden = why === "blocked";
  tellText(why);
  reload.hidden = false;
}

/** @param {boolean} busy */
function setBusy(busy) {
  button.disabled = busy;
  button.textContent = text(busy ? "busyLabel" : "amountLabel");
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

/** Stripe's text on an error that is for buyers; empty for the others. @param {StripeError} error */
function wordsOf({ type, code = "", message: words }) {
  const forBuyers = type === "card_error" || type === "validation_error" || FOR_BUYERS.includes(code);
  return forBuyers && words ? words : "";
}

/** @param {StripeConstructor} constructor */
function start(constructor) {
  const stripe = constructor(publishableKey, { locale: language() });
  const elements = stripe.elements({ clientSecret, appearance: appearance(), loader: "auto" });
  // What the buyer has typed on the page before need not be typed again.
  const defaultValues = { billingDetails: { name, email } };
  const payment = elements.create("payment", { layout: "tabs", defaultValues });
  let paying = false;
  let typed = false;
  let method = "";

  // What was wrong with one method says nothing about another.
  payment.on("change", ({ value, empty }) => {
    typed = !empty;
    if (value.type !== method) tell("");
    method = value.type;
  });
  payment.on("loaderstart", () => {
    // The form shows by itself now that it is loading.
    loading.hidden = true;
  });
  payment.on("ready", () => {
    clearTimeout(patience);
    loading.hidden = true;
    reload.hidden = true;
    if (shown === "slow") tell("");
    button.disabled = false;
  });
  payment.on("loaderror", () => {
    clearTimeout(patience);
    offerReload("blocked");
  });
  payment.mount("#payment-element");

  const dark = matchMedia("(prefers-color-scheme: dark)");
  // Older Safari knows only the old name.
  const follow = () => void elements.update({ appearance: appearance() });
  if (dark.addEventListener) dark.addEventListener("change", follow);
  else dark.addListener(follow);

  document.addEventListener("tmt:language", () => {
    // Another language could empty the fields of the form: what is in use keeps its own.
    if (!typed) void elements.update({ locale: language() });
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
    const state = result.error.payment_intent && result.error.payment_intent.status;
    if (state === "succeeded" || state === "processing" || state === "canceled") {
      // Another tab was faster, or the time ran out: the order's page knows.
      location.assign(returnUrl);
      return true;
    }
    const words = wordsOf(result.error);
    if (words) tell(words);
    else tellText("unexpected");
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
    } catch (error) {
      tellText("unexpected");
    }
    if (!leaving) {
      paying = false;
      setBusy(false);
      // The button lost the focus when it was disabled; what is wrong is to be read first.
      if (!message.hidden) message.focus();
    }
  });
}

/** Stripe.js, which a blocker, a firewall or a bad net may keep away. */
function load() {
  const script = document.createElement("script");
  script.src = stripeJs;
  script.onload = () => {
    const loaded = /** @type {{ Stripe?: StripeConstructor }} */ (/** @type {unknown} */ (window));
    try {
      if (!loaded.Stripe) throw new Error("Stripe.js has not defined Stripe");
      start(loaded.Stripe);
    } catch (error) {
      clearTimeout(patience);
      offerReload("blocked");
    }
  };
  script.onerror = () => {
    clearTimeout(patience);
    offerReload("blocked");
  };
  document.head.append(script);
}

document.addEventListener("tmt:language", () => {
  const isBusy = form.getAttribute("aria-busy") === "true";
  button.textContent = text(isBusy ? "busyLabel" : "amountLabel");
  if (shown) tellText(shown);
  else tell("");
});

const patience = setTimeout(() => offerReload("slow"), SLOW);
reload.addEventListener("click", () => location.reload());
load();

// Coming back with the browser's back button must not show a page that thinks it is still paying.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});
