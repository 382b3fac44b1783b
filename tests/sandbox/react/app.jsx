// Two forms as Stripe's own guides for React build them: the Payment Element, and the Card Element or its three parts.
import { loadStripe } from "@stripe/stripe-js";
import {
  AddressElement, CardCvcElement, CardElement, CardExpiryElement, CardNumberElement, Elements, LinkAuthenticationElement,
  PaymentElement, useElements, useStripe,
} from "@stripe/react-stripe-js";
import { StrictMode, useState } from "react";
import { createRoot } from "react-dom/client";

const { key, form, secret } = JSON.parse(decodeURIComponent(location.hash.slice(1)));
const stripePromise = loadStripe(key, { locale: "en" });
const billing_details = { name: "Ana Ejemplo" };

function Form({ children, pay }) {
  const stripe = useStripe();
  const elements = useElements();
  const [result, setResult] = useState("");
  const onSubmit = async (event) => {
    event.preventDefault();
    setResult("");
    setResult(JSON.stringify(await pay(stripe, elements)));
  };
  return (
    <form onSubmit={onSubmit}>
      {children}
      <button disabled={!stripe}>Pay</button>
      <p id="out" role="status">{result}</p>
    </form>
  );
}

function Payment() {
  const [email, setEmail] = useState("");
  const pay = (stripe, elements) => stripe.confirmPayment({ elements, confirmParams: { return_url: `${location.origin}/done` }, redirect: "if_required" });
  return (
    <Form pay={pay}>
      <LinkAuthenticationElement onChange={({ value }) => setEmail(value.email)} />
      <AddressElement options={{ mode: "shipping", allowedCountries: ["US", "ES"], fields: { phone: "always" } }} />
      <PaymentElement options={{ layout: "tabs" }} />
      <p id="email">{email}</p>
    </Form>
  );
}

function Card() {
  const [problem, setProblem] = useState("");
  const pay = (stripe, elements) => stripe.confirmCardPayment(secret, { payment_method: { card: elements.getElement(CardElement), billing_details } });
  return (
    <Form pay={pay}>
      <CardElement onChange={({ error }) => setProblem(error ? error.message : "")} />
      <p role="alert">{problem}</p>
    </Form>
  );
}

function Parts() {
  const pay = async (stripe, elements) => {
    const card = elements.getElement(CardNumberElement);
    const { token } = await stripe.createToken(card, { name: "Ana Ejemplo" });
    const { error, paymentMethod } = await stripe.createPaymentMethod({ type: "card", card, billing_details });
    if (error) return { error };
    return { token, paymentMethod, ...(await stripe.confirmCardPayment(secret, { payment_method: paymentMethod.id })) };
  };
  return (
    <Form pay={pay}>
      <CardNumberElement options={{ showIcon: true }} />
      <CardExpiryElement />
      <CardCvcElement />
    </Form>
  );
}

const FORMS = { payment: Payment, card: Card, parts: Parts };
const Chosen = FORMS[form];
createRoot(document.getElementById("root")).render(
  <StrictMode>
    <Elements stripe={stripePromise} options={form === "payment" ? { clientSecret: secret } : {}}>
      <Chosen />
    </Elements>
  </StrictMode>,
);
