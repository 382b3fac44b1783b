// Pages of small shops, by their path, which make the calls that Stripe's guides teach.
const say = (text) => document.querySelector("#out").append(Object.assign(document.createElement("li"), { textContent: text }));
const post = (path, body) => fetch(path, { method: "POST", body: JSON.stringify(body) }).then((answer) => answer.json());
const dollars = { amount: 2000, currency: "usd" };
const euros = { amount: 2000, currency: "eur" };
function onSubmit(pay) {
  document.querySelector("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const { error, paymentIntent } = await pay(document.querySelector("#name").value);
    say(error ? error.message : `${paymentIntent.id} ${paymentIntent.status}`);
  });
  document.querySelector("button").disabled = false;
}

const pages = {
  // The intent first, the Payment Element, and a redirect in every case.
  "/payment": async (stripe) => {
    const { clientSecret } = await post("/intents", euros);
    const elements = stripe.elements({ clientSecret });
    elements.create("payment").mount("#fields");
    onSubmit(() => stripe.confirmPayment({ elements, confirmParams: { return_url: `${location.origin}/return` } }));
  },
  "/return": async (stripe) => {
    const secret = new URLSearchParams(location.search).get("payment_intent_client_secret");
    const { paymentIntent } = await stripe.retrievePaymentIntent(secret);
    say(`${paymentIntent.id} ${paymentIntent.status}`);
  },
  // The Card Element, and an intent once the buyer pays.
  "/card": (stripe) => {
    const card = stripe.elements().create("card", { hidePostalCode: true, style: { base: { color: "rgb(1, 2, 3)" } } });
    card.mount("#fields");
    card.on("change", ({ brand, complete }) => (document.title = `${brand} ${complete}`));
    onSubmit(async (name) => {
      const { clientSecret } = await post("/intents", dollars);
      return stripe.confirmCardPayment(clientSecret, { payment_method: { card, billing_details: { name } } });
    });
  },
  // The server confirms, with what the browser made of the card, and may need the buyer once more.
  "/method": (stripe) => {
    const card = stripe.elements().create("card", { hidePostalCode: true });
    card.mount("#fields");
    onSubmit(async (name) => {
      const { error, paymentMethod } = await stripe.createPaymentMethod({ type: "card", card, billing_details: { name } });
      if (error) return { error };
      const manual = { confirm: true, confirmation_method: "manual", use_stripe_sdk: true, allowed_payment_method_types: ["card"] };
      const { clientSecret, id } = await post("/intents", { ...dollars, ...manual, payment_method: paymentMethod.id });
      const result = await stripe.handleCardAction(clientSecret);
      return result.error ? result : { paymentIntent: await post(`/intents/${id}/confirm`, {}) };
    });
  },
  "/token": (stripe) => {
    const elements = stripe.elements({ mode: "payment", ...dollars });
    const defaultValues = { address: { country: "ES" } };
    window.address = elements.create("address", { mode: "billing", fields: { name: "never" }, defaultValues });
    window.address.mount("#address");
    elements.create("payment").mount("#fields");
    onSubmit(async (name) => {
      const { error: problem } = await elements.submit();
      if (problem) return { error: problem };
      const params = { payment_method_data: { billing_details: { name } }, return_url: "https://shop.example/" };
      const { error, confirmationToken } = await stripe.createConfirmationToken({ elements, params });
      if (error) return { error };
      say(confirmationToken.payment_method_preview.card.last4);
      const { clientSecret } = await post("/intents", { ...dollars, confirm: true, confirmation_token: confirmationToken.id });
      return stripe.handleNextAction({ clientSecret });
    });
  },
  "/debit": (stripe) => {
    const iban = stripe.elements().create("iban", { supportedCountries: ["SEPA"] });
    iban.mount("#fields");
    onSubmit(async (name) => {
      const { clientSecret } = await post("/intents", euros);
      const billing_details = { name, email: "ana@example.com" };
      return stripe.confirmSepaDebitPayment(clientSecret, { payment_method: { sepa_debit: iban, billing_details } });
    });
  },
};
(async () => {
  const { publishableKey } = await fetch("/config").then((answer) => answer.json());
  await pages[location.pathname](Stripe(publishableKey, { apiVersion: "2026-10-28.endive", locale: "en" }));
})();
