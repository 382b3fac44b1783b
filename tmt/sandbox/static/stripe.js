// Stripe.js in miniature: the global `Stripe`, with the calls and results of Stripe's own script, against whose types
// it is checked. It styles only its own nodes, through element.style, so that a page with a strict
// Content-Security-Policy can use it. Card data never passes through it: see payment.js. Saved cards: there are no
// customer sessions; the shop's server lists them, and the page confirms with `confirmParams.payment_method`.
// @ts-check
(() => {
  "use strict";
  const root = new URL(".", /** @type {HTMLScriptElement} */ (document.currentScript).src);
  const SECRET = /^((pi|seti)_\w+)_secret_\w+$/;
  const WALLET = "google_pay";

  class IntegrationError extends Error { name = "IntegrationError"; }
  const check = (condition, message) => { if (!condition) throw new IntegrationError(message); };
  const requestedLocale = (locale) => (!locale || locale === "auto" ? navigator.language : locale).toLowerCase();
  const language = (locale) => (requestedLocale(locale).startsWith("es") ? "es" : "en");
  const page = (path, locale, more = "") => new URL(`${path}?locale=${language(locale)}${more}`, root);
  const localized = (locale, english, spanish) => (language(locale) === "es" ? spanish : english);

  /** What buyers read instead of the API's messages, by language. @type {Record<string, Promise<any>>} */
  const texts = {};
  const load = (name) => fetch(new URL(`texts/${name}`, root)).then((answer) => answer.json()).catch(() => ({}));
  const textsIn = (locale) => (texts[language(locale)] ||= load(language(locale)));
  async function translated(error, locale) {
    const translations = await textsIn(locale);
    return { ...error, message: translations[error.decline_code] || translations[error.code] || translations[error.type] || error.message };
  }
  function encode(value, name, into) {
    if (value === undefined || value === null) return into;
    if (typeof value !== "object") into.append(name, String(value));
    else for (const [key, part] of Object.entries(value)) encode(part, name ? `${name}[${key}]` : key, into);
    return into;
  }

  /** One call of the API about an intent: confirms it with `params`, reads it without. @returns {Promise<IntentResult>} */
  async function request({ key, locale }, secret, params) {
    const [, id = "", kind] = SECRET.exec(secret || "") || [];
    check(id, "Invalid value for clientSecret: it should look like pi_…_secret_… or seti_…_secret_….");
    const path = `v1/${kind === "seti" ? "setup" : "payment"}_intents/${id}${params ? "/confirm" : ""}`;
    const body = params && encode({ ...params, use_stripe_sdk: true }, "", new URLSearchParams());
    const headers = { Authorization: `Bearer ${key}`, "Client-Secret": secret };
    try {
      const answer = await fetch(new URL(path, root), { method: body ? "POST" : "GET", headers, body });
      const content = await answer.json();
      if (content.error) return { error: await translated(content.error, locale) };
      return /** @type {any} */ ({ [kind === "seti" ? "setupIntent" : "paymentIntent"]: content });
    } catch {
      const message = "We could not connect. Check your connection and try again.";
      return { error: await translated({ type: "api_connection_error", message }, locale) };
    }
  }
  const intentOf = (result) => result.paymentIntent || result.setupIntent;

  function iframe(src, title, css) {
    const frame = Object.assign(document.createElement("iframe"), { src, title });
    frame.style.cssText = `display: block; border: 0; ${css}`;
    return frame;
  }
  /** Show a page of the bank or the wallet in a modal dialog; resolves with its outcome, or "" when it is left (Escape). */
  function dialogPage(url, title) {
    const size = "width: min(400px, calc(100% - 32px)); height: min(420px, calc(100% - 32px))";
    const frame = iframe(url, title, `${size}; margin: max(16px, calc(50vh - 210px)) auto 0; border-radius: 12px; background: #fff`);
    const dialog = document.createElement("dialog");
    const full = "position: fixed; inset: 0; width: 100%; height: 100%; max-width: none; max-height: none; overflow: hidden";
    dialog.style.cssText = `${full}; margin: 0; padding: 0; border: 0; background: rgba(15, 23, 42, 0.6)`;
    dialog.setAttribute("aria-label", title);
    dialog.append(frame);
    document.body.append(dialog);
    return new Promise((resolve) => {
      const isOurs = ({ source, origin }) => source === frame.contentWindow && origin === root.origin;
      const onMessage = (event) => isOurs(event) && dialog.close(event.data);
      addEventListener("message", onMessage);
      dialog.addEventListener("close", () => {
        removeEventListener("message", onMessage);
        dialog.remove();
        resolve(dialog.returnValue);
      });
      frame.addEventListener("load", () => frame.focus(), { once: true });
      dialog.showModal();
    });
  }

  /** 3-D Secure. Leaving it refuses the payment, so that nothing stays undecided. */
  async function authenticate(source, locale) {
    const url = page(`3ds/${source}`, locale);
    if (await dialogPage(url, localized(locale, "Card authentication", "Autenticación de tu tarjeta"))) return;
    await fetch(url, { method: "POST", body: new URLSearchParams({ outcome: "fail" }) }).catch(() => null);
  }

  /** @implements {PaymentElement} */
  class Element {
    _handlers = {};
    _waiting = new Map();
    /** @type {HTMLIFrameElement | null} */ _frame = null;
    /** @type {MessagePort | null} */ _port = null;
    constructor(group, type, options) {
      this._group = group;
      this._type = type;
      this._options = options;
    }
    /** @param {string | HTMLElement} target */
    mount(target) {
      const place = /** @type {HTMLElement} */ (typeof target === "string" ? document.querySelector(target) : target);
      check(place, `The selector you specified (${target}) applies to no DOM elements that are currently on the page.`);
      this.unmount();
      const { locale } = this._group._options;
      const title = localized(locale, "Secure payment input frame", "Campo de entrada seguro para el pago");
      const css = "margin: -4px; width: calc(100% + 8px); height: 250px; color-scheme: light";
      const frame = (this._frame = iframe(page(`elements/${this._type}`, locale), title, css));
      const loaded = new Promise((done) => frame.addEventListener("load", done, { once: true }));
      this._ready = Promise.all([this._group._read(), loaded]).then(([found]) => this._connect(frame, found));
      place.replaceChildren(frame);
      this._place = place;
      this._left = new AbortController();
      const onLabel = (event) => place.id && event.target.closest?.(`label[for="${CSS.escape(place.id)}"]`) && this.focus();
      document.addEventListener("click", onLabel, { signal: this._left.signal });
      this._emit("loaderstart");
    }
    // Send the frame what there is to pay. Resolves with {error} when there is nothing to pay.
    _connect(frame, { error, offer }) {
      if (error) return this._emit("loaderror", { error }), { error };
      const { port1, port2 } = new MessageChannel();
      this._port = port1;
      const first = { type: "sandbox:init", appearance: this._group._options.appearance, options: this._options, offer };
      return new Promise((ready) => {
        port1.onmessage = ({ data }) => (data.event === "ready" && ready(undefined), this._receive(data));
        frame.contentWindow?.postMessage(first, root.origin, [port2]);
      });
    }
    unmount() {
      this._left?.abort();
      this._port?.close();
      this._frame?.remove();
      this._frame = this._port = null;
    }
    destroy() {
      this.unmount();
      delete this._group._elements[this._type];
    }
    on(name, handler) {
      (this._handlers[name] ||= []).push(handler);
      return this;
    }
    off(name, handler) {
      this._handlers[name] = this._handlers[name]?.filter((registered) => handler && registered !== handler && registered.once !== handler);
      return this;
    }
    once(name, handler) {
      const wrapped = Object.assign((event) => (this.off(name, wrapped), handler(event)), { once: handler });
      return this.on(name, wrapped);
    }
    focus() { this._frame?.focus(), this._ask("focus"); }
    blur() { this._ask("blur"); }
    clear() { this._ask("clear"); }
    collapse() { return this._ask("collapse"), this; }
    update(options) { return this._ask("update", { options: Object.assign(this._options, options) }), this; }
    _confirm(caller, secret, params) { return this._ask("confirm", { caller, secret, params }); }
    // Ask the frame something; resolves with its answer.
    async _ask(operation, data = {}) {
      check(this._frame, "Please mount the Element before using it.");
      const failed = await this._ready;
      if (failed) return failed;
      const id = ++requestCount;
      this._port?.postMessage({ id, operation, ...data });
      return new Promise((resolve) => this._waiting.set(id, resolve));
    }
    _receive({ id, result, event, detail }) {
      if (event === "resize" && this._frame) this._frame.style.height = `${detail}px`;
      else if (event) this._emit(event, detail);
      this._waiting.get(id)?.(result);
      this._waiting.delete(id);
    }
    _emit(name, detail = {}) {
      for (const handler of this._handlers[name]?.slice() || []) handler({ elementType: this._type, ...detail });
    }
  }
  let requestCount = 0;

  /** One wallet, which stands for Google Pay and holds a card that pays. @implements {ExpressElement} */
  class ExpressCheckoutElement extends Element {
    _emit(name, detail) {
      const wallets = { amazonPay: false, applePay: false, googlePay: true, klarna: false, link: false, paypal: false };
      const none = this._options.paymentMethods?.googlePay === "never";
      super._emit(name, name === "ready" ? { availablePaymentMethods: none ? undefined : wallets } : detail);
    }
    _receive(data) { data.event === "click" ? this._open() : super._receive(data); }
    async _open() {
      const agreed = await new Promise((answer) => {
        if (!this._handlers.click?.length) answer({});
        const calls = { resolve: (details = {}) => answer(details), reject: () => answer(null) };
        this._emit("click", { expressPaymentType: WALLET, ...calls });
        setTimeout(() => answer(null), 1000); // no longer than Stripe waits for the page
      });
      if (!agreed) return;
      const { locale } = this._group._options;
      const { offer } = await this._group._read();
      const sum = offer?.amount ? `&amount=${offer.amount}&currency=${offer.currency}` : "";
      const outcome = await dialogPage(page("elements/wallet", locale, sum), localized(locale, "Test wallet", "Monedero de prueba"));
      if (outcome !== "complete") return this._emit("cancel");
      this._group._paying = this;
      const address = { line1: "Calle Mayor 1", line2: null, city: "Madrid", state: "Madrid", postal_code: "28013", country: "ES" };
      const billingDetails = { name: "Ana Ejemplo", email: "ana@example.com", phone: "+34600000000", address };
      this._emit("confirm", { expressPaymentType: WALLET, billingDetails, paymentFailed: () => (this._group._paying = null) });
    }
    _confirm(caller, secret, params) {
      const data = { ...params.payment_method_data, type: "card", card: { token: "tok_visa" } };
      return request(caller, secret, { ...params, payment_method_data: data });
    }
  }

  const KINDS = { payment: Element, expressCheckout: ExpressCheckoutElement };
  /** @implements {SandboxElements} */
  class Elements {
    _elements = {};
    _submitted = false;
    /** @type {Element | null} */ _paying = null;
    constructor(caller, options) {
      const { clientSecret, mode, amount, currency, paymentMethodTypes, payment_method_types } = options;
      check(!paymentMethodTypes && !payment_method_types, "paymentMethodTypes is no longer supported. Use allowedPaymentMethodTypes or excludedPaymentMethodTypes.");
      check(!clientSecret || SECRET.test(clientSecret), "Invalid value for elements(): clientSecret should look like pi_…_secret_….");
      check(!mode || mode === "setup" || (amount >= 0 && currency), `elements() needs amount and currency in mode ${mode}.`);
      this._caller = caller;
      this._options = options;
    }

    /** @returns {Element} */
    create(type, options = {}) {
      check(KINDS[type], `The sandbox has no element of type ${type}.`);
      check(!this._elements[type], `Can only create one Element of type ${type}.`);
      check(this._options.clientSecret || this._options.mode, `elements() needs a clientSecret or a mode for an element of type ${type}.`);
      return (this._elements[type] = new KINDS[type](this, type, { ...options }));
    }
    /** @returns {Element | null} */
    getElement(type) { return this._elements[type] || null; }
    async _updateElements(data) {
      const mounted = Object.values(this._elements).filter((element) => element._frame);
      // Another language is another document: what was typed so far is lost.
      if (data.locale) mounted.forEach((element) => element.mount(element._place));
      await Promise.all(mounted.map((element) => element._ask("update", data)));
    }
    async update({ locale, ...options }) {
      const changed = locale && locale !== this._options.locale;
      Object.assign(this._options, options, locale && { locale });
      await this._updateElements({ appearance: options.appearance, ...(await this._read()), locale: changed });
    }
    async submit() {
      const element = this._elements.payment;
      check(this._paying || element, "elements.submit() needs a mounted Payment Element.");
      /** @type {SubmitResult} */ const result = this._paying ? { selectedPaymentMethod: WALLET } : await element._ask("submit");
      this._submitted = !result.error;
      return result;
    }
    async fetchUpdates() {
      const { error, offer } = await this._read();
      if (!error) await this._updateElements({ offer });
      return error ? { error: { message: error.message || "" } } : {};
    }
    // What there is to pay: the intent, or the options when that comes later. {offer} or {error}.
    async _read() {
      if (!this._options.clientSecret) return { offer: { ...this._options } };
      const result = await request(this._caller, this._options.clientSecret);
      const intent = intentOf(result);
      if (!["succeeded", "canceled"].includes(intent?.status)) return { offer: intent, error: result.error };
      const message = `This intent is ${intent.status}: there is nothing to pay any more.`;
      return { error: { type: "invalid_request_error", code: `${intent.object}_unexpected_state`, message } };
    }
    // The element whose data pays this intent; in deferred mode the two must agree.
    async _payer(secret) {
      const { mode, amount, currency } = this._options;
      check(!mode || this._submitted, "elements.submit() must be called before the payment is confirmed.");
      const intent = mode && mode !== "setup" && intentOf(await request(this._caller, secret));
      const matches = !intent || (intent.amount === amount && intent.currency === currency.toLowerCase());
      check(matches, `The amount or currency of elements (${amount} ${currency}) is not the PaymentIntent's.`);
      const element = this._paying || this._elements.payment;
      this._paying = null;
      check(element, "There is no mounted Element to confirm with.");
      return element;
    }
  }

  /** @type {(key: string, settings?: { locale?: string }) => SandboxStripe} */
  function Stripe(key, { locale } = {}) {
    check(/^pk_test_/.test(key || ""), "Invalid publishable key: the sandbox takes the pk_test_… key that it was started with.");
    const caller = { key, locale };
    const leave = (url) => (location.assign(url), new Promise(() => {}));
    void textsIn(locale);
    /** Do the next action of a confirmed intent. @returns {Promise<IntentResult>} */
    async function proceed(result, secret) {
      const action = intentOf(result)?.next_action;
      if (action?.type === "redirect_to_url") return leave(action.redirect_to_url.url);
      if (action?.type === "oxxo_display_details") {
        await dialogPage(`${action.oxxo_display_details.hosted_voucher_url}?locale=${language(locale)}`, localized(locale, "OXXO voucher", "Vale de OXXO"));
        return request(caller, secret);
      }
      if (action?.type !== "use_stripe_sdk") return result;
      await authenticate(action.use_stripe_sdk.source, locale);
      const after = await request(caller, secret);
      const intent = intentOf(after);
      if (intent?.status !== "requires_payment_method") return after;
      const error = await translated(intent.last_payment_error || intent.last_setup_error, locale);
      return { error: { ...error, [intent.object]: intent } };
    }
    /** @returns {Promise<any>} */
    async function confirm(kind, prefix, { elements, clientSecret, confirmParams, redirect = "always" }) {
      const { expand, ...params } = confirmParams || {};
      check(redirect !== "always" || params.return_url, "confirmParams.return_url is needed unless redirect is if_required.");
      const secret = clientSecret || elements?._options.clientSecret;
      check(secret?.startsWith(prefix), `The clientSecret is not that of a ${kind}: those begin with ${prefix}.`);
      const element = params.payment_method || !elements ? null : await elements._payer(secret);
      const confirmed = await (element ? element._confirm(caller, secret, params) : request(caller, secret, params));
      const result = await proceed(confirmed, secret);
      if (result.error || redirect !== "always") return result;
      const { id, client_secret } = intentOf(result);
      const target = new URL(params.return_url, location.href);
      encode({ [kind]: id, [`${kind}_client_secret`]: client_secret, redirect_status: "succeeded" }, "", target.searchParams);
      return leave(target);
    }

    return {
      elements: (options = {}) => new Elements(caller, { locale, ...options }),
      confirmPayment: (options) => confirm("payment_intent", "pi_", options),
      confirmSetup: (options) => confirm("setup_intent", "seti_", options),
      retrievePaymentIntent: (secret) => request(caller, secret),
      retrieveSetupIntent: (secret) => request(caller, secret),
      async handleNextAction({ clientSecret }) {
        const result = await request(caller, clientSecret);
        check(result.error || intentOf(result).status === "requires_action", "handleNextAction: the intent requires no action.");
        return proceed(result, clientSecret);
      },
    };
  }

  Object.assign(window, { Stripe: Object.assign(Stripe, { version: "endive", _request: request }) });
})();
