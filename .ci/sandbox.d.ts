// The part of Stripe.js that the sandbox's stripe.js has, in the words of Stripe's own types.

type StripeJs = import("@stripe/stripe-js").Stripe;
type StripeJsElements = import("@stripe/stripe-js").StripeElements;
type OfficialPaymentElement = import("@stripe/stripe-js").StripePaymentElement;
type OfficialExpressCheckoutElement = import("@stripe/stripe-js").StripeExpressCheckoutElement;
type OfficialCardElement = import("@stripe/stripe-js").StripeCardElement;
type OfficialCardNumberElement = import("@stripe/stripe-js").StripeCardNumberElement;
type OfficialCardExpiryElement = import("@stripe/stripe-js").StripeCardExpiryElement;
type OfficialCardCvcElement = import("@stripe/stripe-js").StripeCardCvcElement;
type OfficialIbanElement = import("@stripe/stripe-js").StripeIbanElement;
type OfficialLinkAuthenticationElement = import("@stripe/stripe-js").StripeLinkAuthenticationElement;
type OfficialAddressElement = import("@stripe/stripe-js").StripeAddressElement;

interface SandboxElements extends Pick<StripeJsElements, "update" | "on" | "fetchUpdates" | "submit"> {
  create(type: "payment", options?: import("@stripe/stripe-js").StripePaymentElementOptions): OfficialPaymentElement;
  create(type: "expressCheckout", options?: import("@stripe/stripe-js").StripeExpressCheckoutElementOptions): OfficialExpressCheckoutElement;
  create(type: "card", options?: import("@stripe/stripe-js").StripeCardElementOptions): OfficialCardElement;
  create(type: "cardNumber", options?: import("@stripe/stripe-js").StripeCardNumberElementOptions): OfficialCardNumberElement;
  create(type: "cardExpiry", options?: import("@stripe/stripe-js").StripeCardExpiryElementOptions): OfficialCardExpiryElement;
  create(type: "cardCvc", options?: import("@stripe/stripe-js").StripeCardCvcElementOptions): OfficialCardCvcElement;
  create(type: "iban", options?: import("@stripe/stripe-js").StripeIbanElementOptions): OfficialIbanElement;
  create(type: "linkAuthentication", options?: import("@stripe/stripe-js").StripeLinkAuthenticationElementOptions): OfficialLinkAuthenticationElement;
  create(type: "address", options: import("@stripe/stripe-js").StripeAddressElementOptions): OfficialAddressElement;
  getElement(type: "payment"): OfficialPaymentElement | null;
  getElement(type: "expressCheckout"): OfficialExpressCheckoutElement | null;
  getElement(type: "card"): OfficialCardElement | null;
  getElement(type: "cardNumber"): OfficialCardNumberElement | null;
  getElement(type: "cardExpiry"): OfficialCardExpiryElement | null;
  getElement(type: "cardCvc"): OfficialCardCvcElement | null;
  getElement(type: "iban"): OfficialIbanElement | null;
  getElement(type: "linkAuthentication"): OfficialLinkAuthenticationElement | null;
  getElement(type: "address"): OfficialAddressElement | null;
}

/** The calls that confirm with one method of payment, of those that the sandbox simulates. */
type SimulatedCalls = Pick<
  StripeJs,
  | "confirmCardPayment"
  | "confirmCardSetup"
  | "confirmIdealPayment"
  | "confirmIdealSetup"
  | "confirmOxxoPayment"
  | "confirmSepaDebitPayment"
  | "confirmSepaDebitSetup"
>;

interface SandboxStripe
  extends SimulatedCalls,
    Pick<
      StripeJs,
      | "confirmPayment"
      | "confirmSetup"
      | "createConfirmationToken"
      | "createPaymentMethod"
      | "createToken"
      | "handleCardAction"
      | "paymentRequest"
      | "registerAppInfo"
      | "retrievePaymentIntent"
      | "retrieveSetupIntent"
    > {
  elements(options?: import("@stripe/stripe-js").StripeElementsOptionsClientSecret): SandboxElements;
  elements(options?: import("@stripe/stripe-js").StripeElementsOptionsMode): SandboxElements;
  handleNextAction(options: {
    clientSecret: string;
  }): Promise<import("@stripe/stripe-js").PaymentIntentOrSetupIntentResult>;
  _registerWrapper(wrapper: { name: string; version: string }): void;
}

type SubmitResult = Awaited<ReturnType<StripeJsElements["submit"]>>;

/** What a call about an intent resolves with; which of the two it is, its client secret says. */
type IntentResult =
  | { paymentIntent?: undefined; setupIntent?: undefined; error: import("@stripe/stripe-js").StripeError }
  | {
      paymentIntent: import("@stripe/stripe-js").PaymentIntent;
      setupIntent?: any;
      error?: undefined;
    };

// What is written out above must be a part of the real thing.
type Part<Whole extends Piece, Piece> = Whole;
type ElementsArePart = Part<StripeJsElements, SandboxElements>;
type StripeIsPart = Part<StripeJs, Omit<SandboxStripe, "elements" | "_registerWrapper">>;
