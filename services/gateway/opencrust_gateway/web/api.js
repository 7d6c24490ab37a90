// Requests to the gateway this page came from. The session is the cookie; a change also carries this page's Origin.

/** What the gateway refused: `status`, `code`, and a sentence for the person in `message`. */
export class Problem extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export const get = (path) => call("GET", path);
export const post = (path, body = {}) => call("POST", path, body);
export const put = (path, body) => call("PUT", path, body);
export const remove = (path) => call("DELETE", path);

/** Store a file; resolves to its reference for a message. */
export function upload(file) {
  const headers = { "Content-Type": file.type || "application/octet-stream", "X-File-Name": encodeURIComponent(file.name) };
  return told(fetch("/v1/attachments", { method: "POST", headers, body: file }));
}

function call(method, path, body) {
  const options = { method };
  if (body !== undefined) {
    options.headers = { "Content-Type": "application/json" };
    options.body = JSON.stringify(body);
  }
  return told(fetch(path, options));
}

async function told(asked) {
  let answer;
  try {
    answer = await asked;
  } catch {
    throw new Problem(0, "away", "The gateway cannot be reached. Is OpenCrust running?");
  }
  if (answer.status === 401) {
    location.replace("/login");
    throw new Problem(401, "signed_out", "You are signed out.");
  }
  const content = answer.status === 204 ? null : await answer.json().catch(() => null);
  if (!answer.ok) {
    throw new Problem(answer.status, content?.error?.code ?? "", content?.error?.message ?? `The gateway answered with status ${answer.status}.`);
  }
  return content;
}
