// The login page: takes the one-time ticket from the address's fragment, which no server ever sees, and redeems it.

const title = document.getElementById("title");
const text = document.getElementById("text");
const error = document.getElementById("error");
const form = document.getElementById("form");
const link = document.getElementById("link");

function ticketIn(words) {
  const found = /oc_[a-z2-7]{16}_[a-z2-7]{32}/.exec(words);
  return found ? found[0] : null;
}

function fail(message) {
  title.textContent = "Sign in";
  text.textContent = "Open the login link that OpenCrust printed when it started. It works once.";
  error.textContent = message;
  error.hidden = false;
  form.hidden = false;
}

async function redeem(ticket) {
  title.textContent = "Signing you in…";
  text.textContent = "One moment.";
  error.hidden = true;
  form.hidden = true;
  try {
    const answer = await fetch("/login", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ ticket }),
    });
    if (answer.ok) {
      location.replace("/");
      return;
    }
    const told = await answer.json().catch(() => null);
    fail(told?.error?.message ?? `The gateway answered with status ${answer.status}.`);
  } catch {
    fail("The gateway cannot be reached. Is OpenCrust running?");
  }
}

async function begin() {
  const ticket = ticketIn(location.hash);
  if (location.hash) {
    history.replaceState(null, "", "/login"); // off the address bar and out of the history
  }
  if (ticket) {
    await redeem(ticket);
    return;
  }
  // A link from another site brings no SameSite=Strict cookie along, so somebody who is signed in may land here.
  const answer = await fetch("/v1/session").catch(() => null);
  if (answer?.ok) {
    location.replace("/");
  } else {
    link.focus();
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const ticket = ticketIn(link.value);
  link.value = "";
  if (ticket) {
    redeem(ticket);
  } else {
    fail("That is not a login link: it ends in #ticket=oc_…");
  }
});

addEventListener("hashchange", begin);
if (document.prerendering) {
  document.addEventListener("prerenderingchange", begin, { once: true }); // nobody has opened the page yet
} else {
  begin();
}
