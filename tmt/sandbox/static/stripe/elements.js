// Stripe.js in miniature: the elements. Each is a frame of the sandbox's, and a port to it.
// @ts-check
const WALLET = "google_pay";
const TITLES = {
  payment: ["Secure payment input frame", "Campo de entrada seguro para el pago"],
  expressCheckout: ["Secure express checkout frame", "Marco seguro de pago exprés"],
  card: ["Secure card payment input frame", "Campo de entrada seguro para el pago con tarjeta"],
  cardNumber: ["Secure card number input frame", "Campo de entrada seguro del número de tarjeta"],
  cardExpiry: ["Secure expiration date input frame", "Campo de entrada seguro de la fecha de caducidad"],
  cardCvc: ["Secure CVC input frame", "Campo de entrada seguro del CVC"],
  iban: ["Secure IBAN input frame", "Campo de entrada seguro del IBAN"],
  linkAuthentication: ["Secure email input frame", "Campo de entrada seguro del correo electrónico"],
  address: ["Secure address input frame", "Campo de entrada seguro de la dirección"],
};
let requestCount = 0;

class FrameElement {
  _handlers = {};
  _waiting = new Map();
  /** @type {HTMLIFrameElement | null} */ _frame = null;
  /** @type {MessagePort | null} */ _port = null;
  /** The state that it told last. @type {any} */ _state = { empty: true, complete: false };
  // The elements that read what there is to pay, leave room for the ring around a field that has the focus.
  _needsOffer = true;
  /** Whether the group's `appearance` is for it. */ _isThemed = true;
  _css = "margin: -4px; width: calc(100% + 8px); height: 250px; color-scheme: light";
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
    const [english, spanish] = TITLES[this._type];
    const frame = (this._frame = iframe(page(`elements/${this._type}`, locale), localized(locale, english, spanish), this._css));
    const loaded = new Promise((done) => frame.addEventListener("load", done, { once: true }));
    const offer = this._needsOffer ? this._group._read() : {};
    this._ready = Promise.all([offer, loaded]).then(([found]) => this._connect(frame, found));
    const wrapper = document.createElement("div");
    wrapper.className = "__PrivateStripeElement";
    wrapper.append(frame);
    place.replaceChildren(wrapper);
    this._place = place;
    this._showState();
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
    const appearance = this._isThemed ? this._group._options.appearance : undefined;
    const first = { type: "sandbox:init", appearance, options: this._options, offer, elsewhere: this._group._elsewhere() };
    return new Promise((ready) => {
      port1.onmessage = ({ data }) => (data.event === "ready" && ready(undefined), this._receive(data));
      frame.contentWindow?.postMessage(first, root.origin, [port2]);
    });
  }
  unmount() {
    this._left?.abort();
    this._port?.close();
    this._frame?.parentElement?.remove();
    this._frame = this._port = null;
    for (const name of Object.values(this._classes())) this._place?.classList.remove(name);
  }
  destroy() {
    this.unmount();
    this._group._remove(this);
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
  update(options) { return Object.assign(this._options, options), this._tell({ options: this._options, elsewhere: this._group._elsewhere() }), this; }
  /** Send the frame what has changed, if there is one; a frame that comes later gets it with its first message. */
  async _tell(/** @type {any} */ { appearance, ...data }) { if (this._frame) await this._ask("update", { ...data, ...(this._isThemed && { appearance }) }); }
  /** Have the frame make a call of the API with what was typed, which becomes `into` of the parameters, or all of them. */
  _send(caller, target, params, into = "") { return this._ask("send", { caller, target, params, into }); }
  // Ask the frame something; resolves with its answer.
  async _ask(operation, data = {}, /** @type {MessagePort[]} */ ports = []) {
    check(this._frame, "Please mount the Element before using it.");
    const failed = await this._ready;
    if (failed) return failed;
    const id = ++requestCount;
    this._port?.postMessage({ id, operation, ...data }, ports);
    return new Promise((resolve) => this._waiting.set(id, resolve));
  }
  _receive({ id, result, event, detail }) {
    if (event === "resize" && this._frame) this._frame.style.height = `${detail}px`;
    else if (event) this._emit(event, detail);
    this._waiting.get(id)?.(result);
    this._waiting.delete(id);
  }
  _emit(name, detail = {}) {
    if (name === "change") this._state = detail;
    if (["change", "focus", "blur"].includes(name)) this._showState(name);
    for (const handler of this._handlers[name]?.slice() || []) handler({ elementType: this._type, ...detail });
  }
  _classes() {
    const names = { base: "StripeElement", complete: "--complete", empty: "--empty", focus: "--focus", invalid: "--invalid" };
    const parts = Object.entries(names).map(([part, name]) => [part, part === "base" ? name : `StripeElement${name}`]);
    return { ...Object.fromEntries(parts), ...this._options.classes };
  }
  // The classes of the place where it is mounted, by which pages style it.
  _showState(event = "") {
    const { base, complete, empty, focus, invalid } = this._classes();
    const { classList } = /** @type {HTMLElement} */ (this._place);
    classList.add(base);
    classList.toggle(complete, this._state.complete);
    classList.toggle(empty, this._state.empty);
    classList.toggle(invalid, Boolean(this._state.error));
    if (event !== "change") classList.toggle(focus, event === "focus");
  }
}
/** @implements {OfficialPaymentElement} */
class PaymentElement extends FrameElement {}

/** One wallet, which stands for Google Pay and holds a card that pays. @implements {OfficialExpressCheckoutElement} */
class ExpressCheckoutElement extends FrameElement {
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
  _send(caller, target, params, into = "") {
    const data = { ...(into ? params[into] : {}), type: "card", card: { token: "tok_visa" } };
    return call(caller, target, { ...params, ...(into ? { [into]: data } : data) });
  }
}

/** A line that the page frames itself; it pays for calls that name it, and needs no intent before. */
class LineElement extends FrameElement {
  _needsOffer = false;
  _isThemed = false;
  _css = "width: 100%; height: 24px; color-scheme: light";
}
/** @implements {OfficialCardElement} */
class CardElement extends LineElement {}
/** @implements {OfficialCardExpiryElement} */
class CardExpiryElement extends LineElement {}
/** @implements {OfficialCardCvcElement} */
class CardCvcElement extends LineElement {}
/** @implements {OfficialIbanElement} */
class IbanElement extends LineElement {}
/** The three frames of one card exchange what was typed through ports that the page hands on. @implements {OfficialCardNumberElement} */
class CardNumberElement extends LineElement {
  _send(caller, target, params, into = "") {
    const ports = ["cardExpiry", "cardCvc"].map((type) => {
      const other = this._group._elements[type];
      check(other?._frame, `A cardNumber Element pays together with a mounted Element of type ${type}.`);
      const { port1, port2 } = new MessageChannel();
      other._ask("lend", {}, [port1]);
      return port2;
    });
    return this._ask("send", { caller, target, params, into }, ports);
  }
}

/** An element whose value belongs to the page: it goes along with what the Payment Element sends. */
class ContactElement extends FrameElement {
  _needsOffer = false;
  /** The names of the Payment Element's fields that are typed here. @type {string[]} */ _replaces = [];
  _emit(name, detail) { super._emit(name, name === "change" && this._options.mode ? { elementMode: this._options.mode, ...detail } : detail); }
}
/** @implements {OfficialLinkAuthenticationElement} */
class LinkAuthenticationElement extends ContactElement {
  _replaces = ["email"];
  _addTo(details) { details.billing_details = { ...details.billing_details, email: this._state.value.email }; }
}
/** @implements {OfficialAddressElement} */
class AddressElement extends ContactElement {
  constructor(group, type, options) {
    super(group, type, options);
    check(["shipping", "billing"].includes(options.mode), "You must supply options.mode: billing or shipping.");
    if (options.mode === "billing") this._replaces = ["name", "line1", "city", "country", "postal"];
  }
  async getValue() {
    await this._ask("read");
    const { complete, isNewAddress, value } = this._state;
    return { complete, isNewAddress, value };
  }
  _addTo(details) {
    const { name, phone, address } = this._state.value;
    if (this._options.mode === "shipping") details.shipping = { name, phone, address };
    else details.billing_details = { ...details.billing_details, name, phone, address };
  }
}
