// The part of Stripe.js that the sandbox's stripe.js has, in the words of Stripe's own types.

type StripeJs = import("@stripe/stripe-js").Stripe;
type StripeJsElements = import("@stripe/stripe-js").StripeElements;
type PaymentElement = import("@stripe/stripe-js").StripePaymentElement;
type ExpressElement = import("@stripe/stripe-js").StripeExpressCheckoutElement;

interface SandboxElements extends Pick<StripeJsElements, "update" | "fetchUpdates" | "submit"> {
  create(
    type: "payment",
    options?: import("@stripe/stripe-js").StripePaymentElementOptions,
  ): PaymentElement;
  create(
    type: "expressCheckout",
    options?: import("@stripe/stripe-js").StripeExpressCheckoutElementOptions,
  ): ExpressElement;
  getElement(type: "payment"): PaymentElement | null;
  getElement(type: "expressCheckout"): ExpressElement | null;
}

interface SandboxStripe
  extends Pick<
    StripeJs,
    | "confirmPayment"
    | "confirmSetup"
    | "retrievePaymentIntent"
    | "retrieveSetupIntent"
  > {
  elements(options?: import("@stripe/stripe-js").StripeElementsOptionsClientSecret): SandboxElements;
  elements(options?: import("@stripe/stripe-js").StripeElementsOptionsMode): SandboxElements;
  handleNextAction(options: {
    clientSecret: string;
  }): Promise<import("@stripe/stripe-js").PaymentIntentOrSetupIntentResult>;
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
type StripeIsPart = Part<StripeJs, Omit<SandboxStripe, "elements">>;
