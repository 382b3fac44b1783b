// The clock of a hold: counts down, warns before the end, gets more time, and asks the server what
// happened then. Nothing that was typed elsewhere on the page is lost.
// @ts-check

const box = document.getElementById("hold");
const left = document.getElementById("hold-left");
const warning = document.getElementById("hold-warning");

const ASK_EVERY = 3000;
// An open page tells the server so: nobody is written to who is still here.
const HERE_EVERY = 60000;
// A laptop that slept stops the page's own clock, and may say nothing when it wakes.
const SLEEP = 5000;

/** @param {number} seconds */
function clock(seconds) {
  const minutes = Math.floor(seconds / 60);
  return `${minutes}:${String(seconds % 60).padStart(2, "0")}`;
}

/** @param {HTMLElement} hold @param {HTMLElement} time @param {HTMLElement} notice */
function run(hold, time, notice) {
  const { statusUrl = "", orderUrl = "", warnSeconds = "120" } = hold.dataset;
  let end = 0;
  let warned = false;
  let paying = false;
  let timer = 0;
  // What came of the last wish for more time: the name of its text.
  let news = "";
  let ticked = Date.now();
  let asked = performance.now();
  document.addEventListener("tmt:paying", (event) => {
    paying = event instanceof CustomEvent && event.detail.busy === true;
  });

  /**
   * The buyer's own clock may be wrong: only the span between two of the server's times counts.
   * @param {string} expiresAt @param {string} now
   */
  function setEnd(expiresAt, now) {
    end = performance.now() + Date.parse(expiresAt) - (now ? Date.parse(now) : Date.now());
  }

  /** The page is left once the server says that the hold has ended; a payment is not cut off. */
  async function ask() {
    asked = performance.now();
    try {
      const answer = await fetch(statusUrl, { headers: { Accept: "application/json" } });
      const { status, expires_at: expiresAt, now } = await answer.json();
      if (status && status !== "held" && !paying) {
        location.replace(orderUrl);
        return;
      }
      if (expiresAt) setEnd(expiresAt, now);
    } catch (error) {
      // No network now; the next try may have it.
    }
    clearTimeout(timer);
    timer = setTimeout(tick, end > performance.now() ? 0 : ASK_EVERY);
  }

  /** Announced once, not with each tick, and again in another language. @param {string} name */
  function say(name) {
    const words = hold.dataset[name] || "";
    if (notice.textContent !== words) notice.textContent = words;
  }

  /** @param {string} outcome @param {string | undefined} words */
  function announce(outcome, words) {
    if (words) hold.dataset[outcome] = words;
    news = outcome;
    say(news);
  }

  function tick() {
    const seconds = Math.max(0, Math.ceil((end - performance.now()) / 1000));
    time.textContent = clock(seconds);
    const isSoon = seconds <= Number(warnSeconds);
    const hasSlept = Math.abs(Date.now() - ticked) > SLEEP;
    ticked = Date.now();
    hold.classList.toggle("hold-soon", isSoon);
    if (seconds === 0) {
      say("expired");
      void ask();
      return;
    }
    if (isSoon && !warned) news = "";
    warned = isSoon;
    say(news || (isSoon ? "warning" : ""));
    timer = setTimeout(tick, 250);
    const here = document.visibilityState === "visible";
    if (here && (hasSlept || performance.now() - asked > HERE_EVERY)) void ask();
  }

  hold.addEventListener("submit", async (event) => {
    const form = event.target;
    if (!(form instanceof HTMLFormElement)) return;
    event.preventDefault();
    try {
      const body = new URLSearchParams(/** @type {any} */ (new FormData(form)));
      const headers = { Accept: "application/json" };
      const answer = await fetch(form.action, { method: "POST", headers, body });
      const { expires_at: expiresAt, now, message, warning: next, more } = await answer.json();
      if (!expiresAt) {
        announce(answer.status === 409 ? "refused" : "failed", message);
        return;
      }
      hold.dataset.warning = next;
      const text = form.querySelector("span");
      if (text) text.textContent = more;
      if (!more) {
        form.remove();
        hold.tabIndex = -1;
        hold.focus();
      }
      clearTimeout(timer);
      setEnd(expiresAt, now);
      announce("extended", message);
      tick();
    } catch (error) {
      // Never sent as a form is: another page would lose the card that was typed.
      announce("failed", "");
    }
  });

  // A sleeping phone stops all clocks, and another tab may have got more time.
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") void ask();
  });
  setEnd(hold.dataset.expiresAt || "", hold.dataset.now || "");
  tick();
}

if (box && left && warning) run(box, left, warning);
