// Requests to the server, and the message line. All addresses are relative: the token is a part of the page's own.

const message = document.getElementById("message");
let hiding = 0;

export function say(text) {
  message.textContent = text;
  message.hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => { message.hidden = true; }, 7000);
}

async function answered(request) {
  let answer;
  try {
    answer = await request;
  } catch {
    throw new Error("The server does not answer. Everything that you corrected so far is saved; start it again.");
  }
  if (answer.ok) return answer.json();
  const type = answer.headers.get("content-type") || "";
  const error = new Error(type.startsWith("application/json") ? (await answer.json()).error : await answer.text());
  error.status = answer.status;
  throw error;
}

export const get = (path) => answered(fetch(path));

export const post = (path, value) =>
  answered(fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(value) }));

export const fieldPath = (name) => `api/fields/${encodeURIComponent(name)}`;

export const rgb = (color) => `rgb(${color.join(",")})`;

// Calls `action` when no further call follows for `ms`.
export function calm(action, ms) {
  let timer = 0;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...given), ms);
  };
}

// An element with properties and children.
export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}
