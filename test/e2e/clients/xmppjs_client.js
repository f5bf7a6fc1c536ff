// Logs in with @xmpp/client and does what clients do at log-in.
//
// Prints one JSON line for each step: {"step", "ok", "error"?, "note"?}. Exits
// with status 0 only if every step succeeded. README.md describes the steps and
// options.

import { createHash, webcrypto } from "node:crypto";
import dns from "node:dns";
import { readFileSync } from "node:fs";
import tls from "node:tls";
import { parseArgs } from "node:util";

// Debian's Node.js 18 has webcrypto, but not as a global.
globalThis.crypto ??= webcrypto;
const { client, xml, jid } = await import("@xmpp/client");

const stepTimeout = 20_000; // ms; a loaded machine answers within a few seconds

// The answers of a server that does not have the thing asked for, or not yet.
const absent = new Set(["item-not-found", "feature-not-implemented", "service-unavailable"]);

const pubsub = "http://jabber.org/protocol/pubsub";
const omemo = "eu.siacs.conversations.axolotl";
const avatar = Buffer.from("\x89PNG\r\n\x1a\n a picture of xmpp.js's, nearly", "latin1");
const avatarId = createHash("sha1").update(avatar).digest("hex");

const string = { type: "string" };
const { values: options } = parseArgs({
  options: {
    jid: string, password: string, host: string, port: string, mode: string, mech: string, ca: string, room: string,
  },
});
const account = jid(options.jid);
const own = account.bare().toString();
const server = account.domain;

// The library connects to a name and verifies the certificate against it. DNS
// does not have the test's domain, so it is looked up as --host.
const lookup = dns.lookup;
dns.lookup = (name, ...rest) => lookup(name === server ? options.host : name, ...rest);
const ca = readFileSync(options.ca);
const connect = tls.connect;
tls.connect = (first, ...rest) => connect({ ca, ...first }, ...rest);

const xmpp = client({
  service: `${options.mode === "direct" ? "xmpps" : "xmpp"}://${server}:${options.port}`,
  domain: server,
  timeout: stepTimeout,
  credentials: (authenticate) => authenticate({ username: account.local, password: options.password }, options.mech),
});
xmpp.reconnect.stop();
xmpp.on("error", () => {}); // the current step fails by itself

let failed = false;

function report(step, { error, note } = {}) {
  console.log(JSON.stringify({ step, ok: error === undefined, error, note }));
  failed ||= error !== undefined;
}

async function step(name, action) {
  let timer;
  const timeout = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("timed out")), stepTimeout);
  });
  try {
    await Promise.race([action(), timeout]);
    report(name);
  } catch (e) {
    if (e.name === "StanzaError" && absent.has(e.condition) && e.type !== "auth") {
      report(name, { note: `server answers ${e.condition}` });
    } else {
      report(name, { error: e.name === "StanzaError" ? `${e.type}/${e.condition} ${e.text}` : String(e) });
    }
  } finally {
    clearTimeout(timer);
  }
}

function get(name, xmlns, to, ...children) {
  return xmpp.iqCaller.get(xml(name, { xmlns }, ...children), to);
}

function set(name, xmlns, ...children) {
  return xmpp.iqCaller.set(xml(name, { xmlns }, ...children));
}

// wait resolves when a matching stanza arrives, and rejects at an error.
function wait(match) {
  return new Promise((resolve, reject) => {
    const look = (stanza) => {
      const mine = stanza.attrs.type === "error" && stanza.name !== "iq";
      if (!mine && !match(stanza)) return;
      xmpp.off("stanza", look);
      mine ? reject(new Error(stanza.toString())) : resolve(stanza);
    };
    xmpp.on("stanza", look);
  });
}

async function say(to, type, body) {
  const seen = wait((s) => s.is("message") && s.attrs.type === type && s.getChildText("body") === body);
  await xmpp.send(xml("message", { to, type }, xml("body", {}, body)));
  await seen;
}

function publish(node, id, item, ...options) {
  return set("pubsub", pubsub, xml("publish", { node }, xml("item", { id }, item)), ...options);
}

// publishOpen publishes an item that everybody may read, as clients do with keys.
// Avatars are published without these options: ejabberd creates their nodes itself.
function publishOpen(node, id, item) {
  const field = (name, value, type) => xml("field", { var: name, type }, xml("value", {}, value));
  return publish(node, id, item,
    xml("publish-options", {}, xml("x", { xmlns: "jabber:x:data", type: "submit" },
      field("FORM_TYPE", `${pubsub}#publish-options`, "hidden"),
      field("pubsub#access_model", "open"),
      field("pubsub#persist_items", "true"))));
}

function items(node) {
  return get("pubsub", pubsub, own, xml("items", { node }));
}

function has(element, text) {
  if (!element?.toString().includes(text)) throw new Error(`${text} is not in ${element}`);
}

const steps = {
  "disco-info-server": () => get("query", "http://jabber.org/protocol/disco#info", server),
  "disco-items-server": () => get("query", "http://jabber.org/protocol/disco#items", server),
  "disco-info-account": () => get("query", "http://jabber.org/protocol/disco#info", own),
  "disco-items-account": () => get("query", "http://jabber.org/protocol/disco#items", own),
  "roster": () => get("query", "jabber:iq:roster"),
  "carbons": () => set("enable", "urn:xmpp:carbons:2"),
  "presence": async () => {
    const seen = wait((s) => s.is("presence") && !s.attrs.type && s.attrs.from === xmpp.jid.toString());
    await xmpp.send(xml("presence"));
    await seen;
  },
  "archive-query": async () => {
    const rsm = xml("set", { xmlns: "http://jabber.org/protocol/rsm" }, xml("max", {}, "5"));
    await xmpp.iqCaller.request(xml("iq", { type: "set" }, xml("query", { xmlns: "urn:xmpp:mam:2" }, rsm)));
  },
  "archive-preferences": () => get("prefs", "urn:xmpp:mam:2"),
  "bookmarks-pep": () => items("urn:xmpp:bookmarks:1"),
  "bookmarks-private": () => get("query", "jabber:iq:private", undefined, xml("storage", { xmlns: "storage:bookmarks" })),
  "blocklist": () => get("blocklist", "urn:xmpp:blocking"),
  "vcard-publish": () => set("vCard", "vcard-temp", xml("FN", {}, "Xmpp Js")),
  "vcard-fetch": async () => has(await get("vCard", "vcard-temp"), "Xmpp Js"),
  "avatar-publish": async () => {
    await publish("urn:xmpp:avatar:data", avatarId,
      xml("data", { xmlns: "urn:xmpp:avatar:data" }, avatar.toString("base64")));
    await publish("urn:xmpp:avatar:metadata", avatarId,
      xml("metadata", { xmlns: "urn:xmpp:avatar:metadata" },
        xml("info", { id: avatarId, type: "image/png", bytes: String(avatar.length) })));
  },
  "avatar-fetch": async () => has(await items("urn:xmpp:avatar:data"), avatar.toString("base64")),
  "omemo-devices-publish": () => publishOpen(`${omemo}.devicelist`, "current",
    xml("list", { xmlns: omemo }, xml("device", { id: "27182" }))),
  "omemo-bundle-publish": () => publishOpen(`${omemo}.bundles:27182`, "current",
    xml("bundle", { xmlns: omemo },
      xml("signedPreKeyPublic", { signedPreKeyId: "1" }, "Ag=="),
      xml("identityKey", {}, "Aw=="),
      xml("prekeys", {}, xml("preKeyPublic", { preKeyId: "1" }, "BA==")))),
  "omemo-devices-fetch": async () => has(await items(`${omemo}.devicelist`), "27182"),
  "omemo-bundle-fetch": async () => has(await items(`${omemo}.bundles:27182`), "Aw=="),
  "nick": () => publishOpen("http://jabber.org/protocol/nick", "current",
    xml("nick", { xmlns: "http://jabber.org/protocol/nick" }, "Jay")),
  "ping": () => xmpp.iqCaller.request(xml("iq", { type: "get", to: server }, xml("ping", { xmlns: "urn:xmpp:ping" }))),
  "room-join": async () => {
    const occupant = `${options.room}/jay`;
    const seen = wait((s) => s.is("presence") && s.attrs.from === occupant && s.toString().includes('code="110"'));
    await xmpp.send(xml("presence", { to: occupant }, xml("x", { xmlns: "http://jabber.org/protocol/muc" })));
    await seen;
  },
  "room-message": () => say(options.room, "groupchat", "hello, room"),
  "chat": () => say(own, "chat", "note to self"),
  "logout": () => xmpp.stop(),
};

await step("login", async () => {
  await xmpp.start();
  if (!xmpp.isSecure()) throw new Error("logged in without TLS");
});
for (const [name, action] of Object.entries(steps)) {
  if (xmpp.status !== "online") {
    report(name, { error: "not connected" });
    break;
  }
  await step(name, action);
}
process.exit(failed ? 1 : 0);
