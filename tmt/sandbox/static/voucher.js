// The voucher inside a dialog of the page that is paying: closing it leaves the voucher as it is.
if (parent !== window) {
  const close = () => parent.postMessage("closed", "*");
  const button = document.getElementById("close");
  button.hidden = false;
  button.addEventListener("click", close);
  addEventListener("keydown", (event) => event.key === "Escape" && close());
}
