// Stripe.js in miniature: the global `Stripe`, with the calls and results of Stripe's own script.
// It styles only its own nodes, through element.style, so that a page with a strict
// Content-Security-Policy can use it. Card data never passes through it: see element.js.
(() => {
  "use strict";
  const root = new URL(".", document.currentScript.src);

  const SPANISH = {
    generic_decline: "Tu tarjeta ha sido rechazada.",
    card_declined: "Tu tarjeta ha sido rechazada.",
    insufficient_funds: "Tu tarjeta no tiene fondos suficientes.",
    card_velocity_exceeded: "Tu tarjeta ha sido rechazada por hacer demasiados intentos seguidos o superar su límite.",
    authentication_required: "Tu tarjeta ha sido rechazada. Esta transacción requiere autenticación.",
    expired_card: "Tu tarjeta ha caducado.",
    incorrect_number: "El número de tu tarjeta no es correcto.",
    incorrect_cvc: "El código de seguridad de tu tarjeta no es correcto.",
    invalid_expiry_year: "El año de caducidad de tu tarjeta no es válido.",
    invalid_expiry_month: "El mes de caducidad de tu tarjeta no es válido.",
    processing_error: "Se ha producido un error al procesar tu tarjeta. Vuelve a intentarlo dentro de un momento.",
    payment_intent_authentication_failure: "No hemos podido autenticar tu método de pago. Elige otro método de pago e inténtalo de nuevo.",
    test_mode_live_card: "Tu tarjeta ha sido rechazada: en modo de prueba solo se aceptan tarjetas de prueba.",
    api_connection_error: "No se ha podido conectar. Comprueba tu conexión e inténtalo de nuevo.",
  };

  class IntegrationError extends Error {
    name = "IntegrationError";
  }

  function language(locale) {
    const wanted = !locale || locale === "auto" ? navigator.language : locale;
    return wanted.toLowerCase().startsWith("es") ? "es" : "en";
  }

  function translated(error, locale) {
    const text = SPANISH[error.decline_code] || SPANISH[error.code] || SPANISH[error.type];
    return text && language(locale) === "es" ? { ...error, message: text } : error;
  }

  function encode(value, name, into) {
    if (value === undefined || value === null) return into;
    if (typeof value === "object") {
      for (const [key, part] of Object.entries(value)) encode(part, name ? `${name}[${key}]` : key, into);
    } else into.append(name, String(value));
    return into;
  }

  // One call of the API with the publishable key: {paymentIntent} or {error}.
  async function request(key, locale, secret, action, params) {
    const match = /^(pi_\w+)_secret_\w+$/.exec(secret || "");
    if (!match) throw new IntegrationError("Invalid value for clientSecret: it should look like pi_…_secret_….");
    const headers = { Authorization: `Bearer ${key}` };
    const options = { headers };
    if (action) {
      options.method = "POST";
      options.body = encode({ ...params, client_secret: secret }, "", new URLSearchParams());
    } else headers["Client-Secret"] = secret;
    try {
      const answer = await fetch(new URL(`v1/payment_intents/${match[1]}${action}`, root), options);
      const body = await answer.json();
      return body.error ? { error: translated(body.error, locale) } : { paymentIntent: body };
    } catch {
      const error = { type: "api_connection_error", message: "We could not connect. Check your connection and try again." };
      return { error: translated(error, locale) };
    }
  }

  // The 3-D Secure challenge in a modal dialog. Resolves when it is over, whatever its result;
  // leaving it (Escape) refuses the payment, so that nothing stays undecided.
  function challenge(action, locale) {
    const url = new URL(`3ds/${action.use_stripe_sdk.source}`, root);
    const before = document.activeElement;
    const dialog = document.createElement("dialog");
    const frame = document.createElement("iframe");
    Object.assign(dialog.style, {
      position: "fixed", inset: "0", width: "100%", height: "100%", maxWidth: "none", maxHeight: "none",
      margin: "0", padding: "0", border: "0", background: "rgba(15, 23, 42, 0.6)", overflow: "hidden",
    });
    Object.assign(frame.style, {
      display: "block", width: "min(400px, calc(100% - 32px))", height: "min(420px, calc(100% - 32px))",
      margin: "max(16px, calc(50vh - 210px)) auto 0", border: "0", borderRadius: "12px", background: "#fff",
    });
    frame.title = language(locale) === "es" ? "Autenticación de tu tarjeta" : "Card authentication";
    frame.src = `${url}?locale=${language(locale)}`;
    dialog.setAttribute("aria-label", frame.title);
    dialog.append(frame);
    document.body.append(dialog);
    return new Promise((resolve) => {
      let over = false;
      const finish = async (refuse) => {
        if (over) return;
        over = true;
        removeEventListener("message", onMessage);
        if (refuse) await fetch(url, { method: "POST", body: new URLSearchParams({ outcome: "fail" }) }).catch(() => null);
        dialog.remove();
        if (before && before.isConnected) before.focus();
        resolve();
      };
      const onMessage = (event) => {
        if (event.source === frame.contentWindow && event.origin === root.origin && event.data === "3ds:over") finish(false);
      };
      addEventListener("message", onMessage);
      dialog.addEventListener("close", () => finish(true));
      frame.addEventListener("load", () => frame.focus(), { once: true });
      dialog.showModal();
    });
  }

  class Element {
    constructor(group, type, options) {
      Object.assign(this, { _group: group, _type: type, _options: options, _handlers: {}, _waiting: new Map(), _count: 0 });
    }

    mount(target) {
      const place = typeof target === "string" ? document.querySelector(target) : target;
      if (!place) throw new IntegrationError(`The selector you specified (${target}) applies to no DOM elements that are currently on the page.`);
      this.unmount();
      const locale = language(this._group._options.locale);
      const frame = document.createElement("iframe");
      frame.title = locale === "es" ? "Campo de entrada seguro para el pago" : "Secure payment input frame";
      frame.src = new URL(`elements/payment?locale=${locale}`, root);
      frame.allow = "payment *";
      Object.assign(frame.style, { display: "block", border: "0", margin: "-4px", width: "calc(100% + 8px)", height: "250px", colorScheme: "light" });
      this._ready = new Promise((ready) => (this._setReady = ready));
      frame.addEventListener("load", () => {
        const channel = new MessageChannel();
        this._port = channel.port1;
        this._port.onmessage = ({ data }) => this._receive(data);
        const settings = { appearance: this._group._options.appearance, options: this._options };
        frame.contentWindow.postMessage({ type: "sandbox:init", ...settings }, root.origin, [channel.port2]);
      });
      frame.addEventListener("error", () => this._emit("loaderror", { error: { type: "api_connection_error" } }));
      place.replaceChildren(frame);
      Object.assign(this, { _frame: frame, _place: place });
      this._onLabel = (event) => {
        if (place.id && event.target.closest?.(`label[for="${CSS.escape(place.id)}"]`)) this.focus();
      };
      document.addEventListener("click", this._onLabel);
      return this;
    }

    unmount() {
      if (!this._frame) return;
      document.removeEventListener("click", this._onLabel);
      this._port?.close();
      this._frame.remove();
      this._frame = this._port = null;
    }

    destroy() {
      this.unmount();
      this._group._element = null;
    }

    on(name, handler) {
      (this._handlers[name] ||= []).push(handler);
      return this;
    }

    off(name, handler) {
      this._handlers[name] = (this._handlers[name] || []).filter((known) => handler && known !== handler && known._once !== handler);
      return this;
    }

    once(name, handler) {
      const wrapped = (event) => (this.off(name, wrapped), handler(event));
      wrapped._once = handler;
      return this.on(name, wrapped);
    }

    focus() {
      this._frame?.focus();
      this._ask("focus");
    }

    blur() {
      this._ask("blur");
    }

    clear() {
      this._ask("clear");
    }

    update(options) {
      Object.assign(this._options, options);
      this._ask("update", { options: this._options });
    }

    collapse() {}

    // Ask the frame something; resolves with its answer.
    async _ask(operation, data) {
      if (!this._frame) throw new IntegrationError("Please mount the Payment Element before using it.");
      await this._ready;
      const id = ++this._count;
      return new Promise((resolve) => {
        this._waiting.set(id, resolve);
        this._port.postMessage({ id, operation, ...data });
      });
    }

    _receive(data) {
      if (data.id) {
        this._waiting.get(data.id)?.(data.result);
        this._waiting.delete(data.id);
      } else if (data.event === "resize") {
        this._frame.style.height = `${data.height}px`;
      } else {
        if (data.event === "ready") this._setReady();
        this._emit(data.event, data.detail);
      }
    }

    _emit(name, detail) {
      for (const handler of [...(this._handlers[name] || [])]) handler({ elementType: this._type, ...detail });
    }
  }

  class Elements {
    constructor(options) {
      if (options.paymentMethodTypes || options.payment_method_types) {
        throw new IntegrationError("paymentMethodTypes is no longer supported. Use allowedPaymentMethodTypes or excludedPaymentMethodTypes.");
      }
      this._options = options;
      this._element = null;
    }

    create(type, options = {}) {
      if (!["payment", "card"].includes(type)) throw new IntegrationError(`The sandbox has no element of type ${type}.`);
      if (this._element) throw new IntegrationError(`Can only create one Element of type ${type}.`);
      return (this._element = new Element(this, type, { ...options }));
    }

    getElement(type) {
      return this._element && this._element._type === type ? this._element : null;
    }

    async update(options) {
      Object.assign(this._options, options);
      if (this._element?._frame) await this._element._ask("update", { appearance: this._options.appearance });
    }

    async submit() {
      if (!this._element) throw new IntegrationError("elements.submit() needs a mounted Payment Element.");
      return this._element._ask("submit");
    }

    async fetchUpdates() {
      return {};
    }
  }

  function Stripe(key, settings = {}) {
    if (!/^pk_test_/.test(key || "")) throw new IntegrationError("Invalid publishable key: the sandbox takes the pk_test_… key that it was started with.");
    const { locale } = settings;

    function leave(url, intent) {
      const target = new URL(url, location.href);
      target.searchParams.set("payment_intent", intent.id);
      target.searchParams.set("payment_intent_client_secret", intent.client_secret);
      target.searchParams.set("redirect_status", intent.status === "requires_payment_method" ? "failed" : "succeeded");
      location.assign(target);
      return new Promise(() => {});
    }

    // Carry a confirmed PaymentIntent through what it asks for next.
    async function proceed(result, secret) {
      const action = result.paymentIntent?.next_action;
      if (action?.type === "redirect_to_url") {
        location.assign(action.redirect_to_url.url);
        return new Promise(() => {});
      }
      if (action?.type !== "use_stripe_sdk") return result;
      await challenge(action, locale);
      const after = await request(key, locale, secret, "", {});
      const intent = after.paymentIntent;
      if (intent?.status !== "requires_payment_method") return after;
      return { error: { ...translated(intent.last_payment_error, locale), payment_intent: intent } };
    }

    async function confirm(secret, element, params) {
      const result = element
        ? await element._ask("confirm", { key, locale, secret, params })
        : await request(key, locale, secret, "/confirm", { ...params, use_stripe_sdk: true });
      return proceed(result, secret);
    }

    return {
      elements: (options = {}) => new Elements({ ...options, locale: options.locale || locale }),
      async confirmPayment({ elements, clientSecret, confirmParams = {}, redirect = "always" }) {
        if (redirect === "always" && !confirmParams.return_url) {
          throw new IntegrationError("confirmPayment needs confirmParams.return_url unless redirect is if_required.");
        }
        const secret = clientSecret || elements?._options.clientSecret;
        const { expand, ...params } = confirmParams;
        const result = await confirm(secret, params.payment_method ? null : elements?._element, params);
        return result.paymentIntent && redirect === "always" ? leave(params.return_url, result.paymentIntent) : result;
      },
      async confirmCardPayment(secret, data = {}, { handleActions = true } = {}) {
        const { payment_method: method, ...params } = data;
        const element = method?.card instanceof Element ? method.card : null;
        if (element) params.payment_method_data = { billing_details: method.billing_details };
        else if (typeof method === "string") params.payment_method = method;
        if (handleActions) return confirm(secret, element, params);
        return request(key, locale, secret, "/confirm", { ...params, use_stripe_sdk: true });
      },
      retrievePaymentIntent: (secret) => request(key, locale, secret, "", {}),
      async handleNextAction({ clientSecret }) {
        return proceed(await request(key, locale, clientSecret, "", {}), clientSecret);
      },
    };
  }

  Stripe.version = "endive";
  Stripe._request = request;
  window.Stripe = Stripe;
})();
