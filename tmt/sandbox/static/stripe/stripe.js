// Stripe.js in miniature: the global `Stripe`.
// @ts-check
// The methods of payment that have calls of their own, by the names in them; the others throw.
const SIMULATED = { Card: "card", Ideal: "ideal", Oxxo: "oxxo", SepaDebit: "sepa_debit" };
const NOT_SIMULATED = `AcssDebit Affirm AfterpayClearpay Alipay AmazonPay AuBecsDebit BacsDebit Bancontact Billie Blik Boleto
  Cashapp CustomerBalance Eps Fpx Giropay GrabPay Klarna Konbini Mobilepay Multibanco P24 PayByBank PayNow PayPal Pix PromptPay
  Sofort Twint UsBankAccount WechatPay`.split(/\s+/);

/** @type {(key: string, settings?: { locale?: string }) => SandboxStripe} */
function Stripe(key, { locale } = {}) {
  check(/^pk_test_/.test(key || ""), "Invalid publishable key: the sandbox takes the pk_test_… key that it was started with.");
  const caller = { key, locale };
  const leave = (url) => (location.assign(url), new Promise(() => {}));
  void textsIn(locale);
  /** Do the next action of a confirmed intent. @returns {Promise<any>} */
  async function proceed(result, secret) {
    const action = intentOf(result)?.next_action;
    if (action?.type === "redirect_to_url") return leave(action.redirect_to_url.url);
    if (action?.type === "oxxo_display_details") {
      await dialogPage(`${action.oxxo_display_details.hosted_voucher_url}?locale=${language(locale)}`, localized(locale, "OXXO voucher", "Vale de OXXO"));
      return readIntent(caller, secret);
    }
    if (action?.type !== "use_stripe_sdk") return result;
    await authenticate(action.use_stripe_sdk.source, locale);
    const after = await readIntent(caller, secret);
    const intent = intentOf(after);
    if (intent?.status !== "requires_payment_method") return after;
    const error = await translated(intent.last_payment_error || intent.last_setup_error, locale);
    return { error: { ...error, [intent.object]: intent } };
  }
  async function handleAction(secret, name) {
    const result = await readIntent(caller, secret);
    check(result.error || intentOf(result).status === "requires_action", `${name}: the intent requires no action.`);
    return proceed(result, secret);
  }
  /** @returns {Promise<any>} */
  async function confirm(kind, prefix, { elements, clientSecret, confirmParams, redirect = "always" }) {
    const { expand, ...params } = { ...confirmParams, use_stripe_sdk: true };
    check(redirect !== "always" || params.return_url, "confirmParams.return_url is needed unless redirect is if_required.");
    const secret = clientSecret || elements?._options.clientSecret;
    check(secret?.startsWith(prefix), `The clientSecret is not that of a ${kind}: those begin with ${prefix}.`);
    const fromElements = elements && !params.payment_method && !params.confirmation_token;
    if (fromElements) await elements._checkAgreement(secret);
    const target = confirmTarget(secret);
    const confirmed = await (fromElements ? elements._send(target, params, "payment_method_data") : call(caller, target, params));
    const result = await proceed(confirmed, secret);
    if (result.error || redirect !== "always") return result;
    const { id, client_secret } = intentOf(result);
    const url = new URL(params.return_url, location.href);
    encode({ [kind]: id, [`${kind}_client_secret`]: client_secret, redirect_status: "succeeded" }, "", url.searchParams);
    return leave(url);
  }
  /** Confirm with one method: an id, data with an element, or what the intent already has. @returns {Promise<any>} */
  async function confirmWith(type, prefix, secret, { payment_method, ...data } = /** @type {any} */ ({}), { handleActions = true } = {}) {
    check(secret?.startsWith(prefix), `Invalid value for clientSecret: those of this call begin with ${prefix}.`);
    check(!data.payment_method_options?.card?.cvc, "The sandbox does not simulate a CVC that is typed again.");
    const params = { ...data, use_stripe_sdk: true };
    const confirmed = typeof payment_method === "object"
      ? await sendMethod(confirmTarget(secret), { ...params, payment_method_data: { ...payment_method, type } }, "payment_method_data")
      : await call(caller, confirmTarget(secret), { ...params, ...(payment_method && { payment_method }) });
    return handleActions ? proceed(confirmed, secret) : confirmed;
  }
  /** Make a call with a method whose data (`into` of the parameters, or all of them) may name an element. */
  function sendMethod(target, params, into = "") {
    const { [(into ? params[into] : params).type]: source, ...method } = into ? params[into] : params;
    const completed = into ? { ...params, [into]: method } : method;
    if (source instanceof FrameElement) return source._send(caller, target, completed, into);
    return call(caller, target, into ? { ...params, [into]: { ...method, [method.type]: source } } : params);
  }
  const calls = {};
  for (const [name, type] of Object.entries(SIMULATED)) {
    calls[`confirm${name}Payment`] = (secret, data, options) => confirmWith(type, "pi_", secret, data, options);
    calls[`confirm${name}Setup`] = (secret, data, options) => confirmWith(type, "seti_", secret, data, options);
  }
  for (const name of NOT_SIMULATED.flatMap((method) => [`confirm${method}Payment`, `confirm${method}Setup`])) {
    calls[name] = () => check(false, `The sandbox does not simulate the method of ${name}.`);
  }

  return {
    .../** @type {SimulatedCalls} */ (calls),
    elements: (options = {}) => new Elements(caller, { locale, ...options }),
    confirmPayment: (options) => confirm("payment_intent", "pi_", options),
    confirmSetup: (options) => confirm("setup_intent", "seti_", options),
    retrievePaymentIntent: (secret) => readIntent(caller, secret),
    retrieveSetupIntent: (secret) => readIntent(caller, secret),
    handleNextAction: async ({ clientSecret }) => handleAction(clientSecret, "handleNextAction"),
    handleCardAction: async (clientSecret) => handleAction(clientSecret, "handleCardAction"),
    async createPaymentMethod(/** @type {any} */ { elements, element, params, ...data }) {
      const target = { path: "payment_methods", result: "paymentMethod" };
      if (elements) return elements._send(target, { ...params });
      if (element) return element._send(caller, target, { ...params, type: element._type === "iban" ? "sepa_debit" : "card" });
      check(data.type, "createPaymentMethod() needs a type, or elements.");
      return sendMethod(target, data);
    },
    async createConfirmationToken(/** @type {any} */ { elements, params }) {
      check(elements, "createConfirmationToken() needs elements.");
      return elements._send({ path: "confirmation_tokens", result: "confirmationToken" }, { ...params }, "payment_method_data");
    },
    async createToken(/** @type {any} */ source, /** @type {any} */ data = {}) {
      const target = { path: "tokens", result: "token" };
      if (!(source instanceof FrameElement)) return call(caller, target, { [source]: data });
      check(source._type !== "iban", "The sandbox has no tokens of IBANs: use createPaymentMethod().");
      return source._send(caller, target, { card: data }, "card");
    },
    // No browser has a wallet for the sandbox here: the Express Checkout Element has one.
    paymentRequest(/** @type {any} */ options) {
      check(options?.country && options.currency && options.total, "paymentRequest() needs country, currency and total.");
      const request = { canMakePayment: async () => null, isShowing: () => false, show() {}, update() {}, abort() {}, on: () => request, once: () => request, off: () => request };
      return request;
    },
    registerAppInfo() {},
    // How wrappers such as react-stripe-js name themselves.
    _registerWrapper() {},
  };
}

Object.assign(window, { Stripe: Object.assign(Stripe, { version: "endive", _call: call }) });
