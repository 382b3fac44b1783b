// Stripe.js in miniature: `stripe.elements()`, the elements of one payment.
// @ts-check
const KINDS = {
  payment: PaymentElement, expressCheckout: ExpressCheckoutElement, card: CardElement, cardNumber: CardNumberElement,
  cardExpiry: CardExpiryElement, cardCvc: CardCvcElement, iban: IbanElement,
  linkAuthentication: LinkAuthenticationElement, address: AddressElement,
};
// Those that show what there is to pay.
const needsAmount = (type) => ["payment", "expressCheckout"].includes(type);

// The fields of billing details: as options of the Payment Element name them, as its frame does, and as the API does.
const BILLING = [
  ["name", "name", "name"], ["email", "email", "email"], ["phone", "phone", "phone"], ["line1", "line1", "address.line1"],
  ["line2", "line2", "address.line2"], ["city", "city", "address.city"], ["state", "state", "address.state"],
  ["country", "country", "address.country"], ["postalCode", "postal", "address.postal_code"],
];
/** The rows of BILLING which the page leaves out (`never`), as it sends their values itself. */
function leftOut({ fields } = /** @type {any} */ ({})) {
  const asked = fields?.billingDetails || {};
  const whenAsked = (option, path) => {
    if (typeof asked === "string") return asked;
    if (!path.startsWith("address.")) return asked[option];
    return typeof asked.address === "string" ? asked.address : asked.address?.[option];
  };
  return BILLING.filter(([option = "", , path = ""]) => whenAsked(option, path) === "never");
}

/** @implements {SandboxElements} */
class Elements {
  _elements = {};
  _submitted = false;
  /** @type {(() => void)[]} */ _updateHandlers = [];
  /** @type {FrameElement | null} */ _paying = null;
  constructor(caller, options) {
    const { clientSecret, mode, amount, currency, paymentMethodTypes, payment_method_types } = options;
    check(!paymentMethodTypes && !payment_method_types, "paymentMethodTypes is no longer supported. Use allowedPaymentMethodTypes or excludedPaymentMethodTypes.");
    check(!clientSecret || SECRET.test(clientSecret), "Invalid value for elements(): clientSecret should look like pi_…_secret_….");
    check(!mode || mode === "setup" || (amount >= 0 && currency), `elements() needs amount and currency in mode ${mode}.`);
    this._caller = caller;
    this._options = options;
  }

  /** @returns {any} */
  create(type, options = {}) {
    check(KINDS[type], `The sandbox has no element of type ${type}.`);
    const name = this._name(type, options);
    check(!this._elements[name], `Can only create one Element of type ${type}.`);
    check(!needsAmount(type) || this._options.clientSecret || this._options.mode, `elements() needs a clientSecret or a mode for an element of type ${type}.`);
    const element = (this._elements[name] = new KINDS[type](this, type, { ...options }));
    this._payment()?._tell({ elsewhere: this._elsewhere() });
    return element;
  }
  // There may be two of addresses, one of each mode.
  _name(type, { mode = "" } = {}) { return type === "address" ? `address ${mode}` : type; }
  /** `type` is a name, or a component of react-stripe-js. @returns {any} */
  getElement(type, options = {}) {
    const name = typeof type === "string" ? type : type.__elementType;
    if (name !== "address" || options.mode) return this._elements[this._name(name, options)] || null;
    return this._elements["address shipping"] || this._elements["address billing"] || null;
  }
  _remove(element) {
    delete this._elements[this._name(element._type, element._options)];
    this._payment()?._tell({ elsewhere: this._elsewhere() });
  }
  /** @returns {FrameElement | undefined} */
  _payment() { return this._elements.payment; }
  /** @returns {any[]} */
  _contacts() { return Object.values(this._elements).filter((element) => element instanceof ContactElement); }
  /** The fields that the Payment Element leaves to other elements and to the page. */
  _elsewhere() {
    const byPage = leftOut(this._payment()?._options).map(([, name]) => name);
    return [...byPage, ...this._contacts().flatMap((element) => element._replaces)];
  }
  async _updateElements(data) {
    const mounted = Object.values(this._elements).filter((element) => element._frame);
    // Another language is another document: what was typed so far is lost.
    if (data.locale) mounted.forEach((element) => element.mount(element._place));
    await Promise.all(mounted.map((element) => element._tell(data)));
  }
  async update({ locale, ...options }) {
    const changed = locale && locale !== this._options.locale;
    Object.assign(this._options, options, locale && { locale });
    await this._updateElements({ appearance: options.appearance, ...(await this._read()), locale: changed });
    for (const handler of this._updateHandlers) handler();
  }
  on(name, handler) { if (name === "update-end") this._updateHandlers.push(handler); }
  async submit() {
    const payment = this._payment();
    check(this._paying || payment, "elements.submit() needs a mounted Payment Element.");
    /** @type {SubmitResult} */ const result = this._paying ? { selectedPaymentMethod: WALLET } : await payment?._ask("submit");
    const { error } = result.error ? result : await this._contactDetails();
    this._submitted = !error;
    return error ? { error } : result;
  }
  async fetchUpdates() {
    const { error, offer } = await this._read();
    if (!error) await this._updateElements({ offer });
    return error ? { error: { message: error.message || "" } } : {};
  }
  // What there is to pay: the intent, or the options when that comes later. {offer} or {error}.
  async _read() {
    if (!this._options.clientSecret) return { offer: { ...this._options } };
    const result = await readIntent(this._caller, this._options.clientSecret);
    const intent = intentOf(result);
    if (!["succeeded", "canceled"].includes(intent?.status)) return { offer: intent, error: result.error };
    const message = `This intent is ${intent.status}: there is nothing to pay any more.`;
    return { error: { type: "invalid_request_error", code: `${intent.object}_unexpected_state`, message } };
  }
  // What the address and the e-mail elements add: {billing_details, shipping}, or {error} for what is missing there.
  async _contactDetails() {
    const details = {};
    for (const element of this._contacts()) {
      const problem = await element._ask("submit");
      if (problem?.error) return problem;
      element._addTo(details);
    }
    return details;
  }
  /**
   * Have the element that pays make a call. Of its two parts, `billing_details` belong to the method, which is `into`
   * of the parameters, or all of them; `shipping` belongs to the payment. Resolves with the call's result, or {error}.
   */
  async _send(target, params, into = "") {
    check(!this._options.mode || this._submitted, "elements.submit() must be called before the payment is confirmed.");
    const element = this._paying || this._payment();
    check(element, "There is no mounted Element to confirm with.");
    const { error, billing_details, shipping } = this._paying ? {} : await this._contactDetails();
    if (error) return { error };
    const method = (into ? params[into] : params) || {};
    const details = { ...billing_details, ...method.billing_details };
    for (const [, , path = ""] of this._paying ? [] : leftOut(element._options)) {
      const value = path.split(".").reduce((part, name) => part?.[name], details);
      check(value !== undefined, `You specified "never" for ${path} of the Payment Element's fields.billingDetails: pass it in billing_details of payment_method_data.`);
    }
    this._paying = null;
    const completed = { ...method, ...(Object.keys(details).length && { billing_details: details }) };
    const withShipping = shipping && into ? { shipping, ...params } : params;
    return element._send(this._caller, target, into ? { ...withShipping, [into]: completed } : completed, into);
  }
  // In deferred mode the elements and the intent must agree.
  async _checkAgreement(secret) {
    const { mode, amount, currency } = this._options;
    const intent = mode && mode !== "setup" && intentOf(await readIntent(this._caller, secret));
    const matches = !intent || (intent.amount === amount && intent.currency === currency.toLowerCase());
    check(matches, `The amount or currency of elements (${amount} ${currency}) is not the PaymentIntent's.`);
  }
}
