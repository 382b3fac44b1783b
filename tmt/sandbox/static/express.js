// The Express Checkout Element, inside its own frame: the button of one test wallet.
import { emit, listen } from "./frame.js";

const button = document.querySelector("button");
button.addEventListener("click", () => emit("click"));
listen({
  focus: () => button.focus(),
  update({ options = {} }) {
    button.hidden = options.paymentMethods?.googlePay === "never";
    button.style.height = `${options.buttonHeight || 44}px`;
  },
});
