#!/usr/bin/python3
"""Logs in with slixmpp and does what clients do at log-in.

Prints one JSON line for each step: {"step", "ok", "error"?, "note"?}. Exits with
status 0 only if every step succeeded. README.md describes the steps and options.
"""

import argparse
import asyncio
import json
import sys
import xml.etree.ElementTree as ET

# slixmpp sometimes prints to standard output, which is for the report only.
REPORT = sys.stdout
sys.stdout = sys.stderr

import slixmpp  # noqa: E402
from slixmpp.exceptions import IqError, IqTimeout, PresenceError  # noqa: E402

STEP_TIMEOUT = 20  # seconds; a loaded machine answers within a few seconds

# The answers of a server that does not have the thing asked for, or not yet.
ABSENT = {"item-not-found", "feature-not-implemented", "service-unavailable"}

OMEMO = "eu.siacs.conversations.axolotl"
AVATAR = b"\x89PNG\r\n\x1a\n a picture of slixmpp's, nearly"

# Current clients set these options, so that contacts may read their keys.
OPEN = {"pubsub#access_model": "open", "pubsub#persist_items": "true"}


class Client(slixmpp.ClientXMPP):
    def __init__(self, options):
        super().__init__(options.jid, options.password, sasl_mech=options.mech)
        self.options = options
        self.failed = False
        self.ca_certs = options.ca
        self.ssl_context.check_hostname = True
        # An application registers the same plugins. With XEP-0115 the client announces
        # the events that it wants, so that the server also sends events by itself.
        for plugin in (30, 45, 48, 49, 54, 60, 84, 92, 115, 153, 163, 172, 191, 199, 280, 313):
            self.register_plugin("xep_%04d" % plugin)
        self.auto_authorize = None
        self.lost = asyncio.get_event_loop().create_future()
        for event in ("connection_failed", "failed_all_auth", "stream_error", "ssl_invalid_chain"):
            self.add_event_handler(event, self.give_up)

    def give_up(self, why):
        if not self.lost.done():
            self.lost.set_exception(RuntimeError("login: %s" % (why,)))

    def report(self, step, error=None, note=None):
        line = {"step": step, "ok": error is None}
        if error is not None:
            line["error"] = error
            self.failed = True
        if note is not None:
            line["note"] = note
        print(json.dumps(line), file=REPORT, flush=True)

    async def step(self, name, action):
        try:
            await asyncio.wait_for(action, STEP_TIMEOUT)
        except IqError as e:
            if e.condition in ABSENT and e.etype != "auth":
                self.report(name, note="server answers " + e.condition)
            else:
                self.report(name, error="%s/%s %s" % (e.etype, e.condition, e.text))
        except PresenceError as e:
            self.report(name, error="%s/%s %s" % (e.etype, e.condition, e.text))
        except IqTimeout:
            self.report(name, error="no answer")
        except asyncio.TimeoutError:
            self.report(name, error="timed out")
        except Exception as e:  # every exception is this step's result
            self.report(name, error="%s: %s" % (type(e).__name__, e))
        else:
            self.report(name)

    async def run(self):
        await self.step("login", self.login())
        if self.failed:
            return
        own, server = self.boundjid.bare, self.boundjid.host
        await self.step("disco-info-server", self["xep_0030"].get_info(jid=server, local=False))
        await self.step("disco-items-server", self["xep_0030"].get_items(jid=server, local=False))
        await self.step("disco-info-account", self["xep_0030"].get_info(jid=own, local=False))
        await self.step("disco-items-account", self["xep_0030"].get_items(jid=own, local=False))
        await self.step("roster", self.get_roster())
        await self.step("carbons", self["xep_0280"].enable())
        await self.step("presence", self.presence())
        await self.step("archive-query", self.archive())
        await self.step("archive-preferences", self.get("<prefs xmlns='urn:xmpp:mam:2'/>"))
        await self.step("bookmarks-pep", self["xep_0060"].get_items(own, "urn:xmpp:bookmarks:1"))
        await self.step("bookmarks-private", self["xep_0048"].get_bookmarks(method="xep_0049"))
        await self.step("blocklist", self["xep_0191"].get_blocked())
        await self.step("vcard-publish", self.publish_vcard())
        await self.step("vcard-fetch", self.fetch_vcard())
        await self.step("avatar-publish", self.publish_avatar())
        await self.step("avatar-fetch", self.fetch_avatar())
        await self.step("omemo-devices-publish", self.publish(
            OMEMO + ".devicelist", "<list xmlns='%s'><device id='31415'/></list>" % OMEMO))
        await self.step("omemo-bundle-publish", self.publish(
            OMEMO + ".bundles:31415",
            "<bundle xmlns='%s'><signedPreKeyPublic signedPreKeyId='1'>Ag==</signedPreKeyPublic>"
            "<identityKey>Aw==</identityKey><prekeys><preKeyPublic preKeyId='1'>BA==</preKeyPublic>"
            "</prekeys></bundle>" % OMEMO))
        await self.step("omemo-devices-fetch", self.fetch(OMEMO + ".devicelist", "31415"))
        await self.step("omemo-bundle-fetch", self.fetch(OMEMO + ".bundles:31415", "Aw=="))
        await self.step("nick", self["xep_0172"].publish_nick("Slix"))
        await self.step("ping", self["xep_0199"].send_ping(server))
        await self.step("room-join", self["xep_0045"].join_muc_wait(self.options.room, "slix", maxchars=0))
        await self.step("room-message", self.say(self.options.room, "groupchat", "hello, room"))
        await self.step("chat", self.say(own, "chat", "note to self"))
        await self.step("logout", self.logout())

    async def login(self):
        started = asyncio.get_event_loop().create_future()
        self.add_event_handler("session_start", lambda _: started.done() or started.set_result(None))
        self.connect((self.options.host, self.options.port), use_ssl=self.options.mode == "direct",
                     disable_starttls=self.options.mode == "direct")
        await asyncio.wait({started, self.lost}, return_when=asyncio.FIRST_COMPLETED)
        if self.lost.done():
            self.lost.result()

    async def logout(self):
        await self.disconnect(wait=5)

    async def presence(self):
        """Sends presence and waits until the server sends it back to this session."""
        seen = self.wait("presence", lambda p: p["from"] == self.boundjid and p["type"] == "available")
        self.send_presence()
        await seen

    async def archive(self):
        await self["xep_0313"].retrieve(rsm={"max": 5})

    def get(self, payload):
        iq = self.make_iq_get()
        iq.append(ET.fromstring(payload))
        return iq.send()

    async def publish_vcard(self):
        card = self["xep_0054"].make_vcard()
        card["FN"] = "Slix Client"
        await self["xep_0054"].publish_vcard(card)

    async def fetch_vcard(self):
        card = await self["xep_0054"].get_vcard(self.boundjid.bare, cached=False)
        expect("Slix Client", card["vcard_temp"]["FN"])

    async def publish_avatar(self):
        avatar = self["xep_0084"]
        await avatar.publish_avatar(AVATAR)
        await avatar.publish_avatar_metadata(
            {"id": avatar.generate_id(AVATAR), "type": "image/png", "bytes": len(AVATAR)})

    async def fetch_avatar(self):
        avatar = self["xep_0084"]
        items = await avatar.retrieve_avatar(self.boundjid.bare, avatar.generate_id(AVATAR))
        expect(AVATAR, items["pubsub"]["items"]["item"]["avatar_data"]["value"])

    def publish(self, node, payload):
        form = self["xep_0004"].make_form("submit")
        form.add_field("FORM_TYPE", "hidden", value="http://jabber.org/protocol/pubsub#publish-options")
        for name, value in OPEN.items():
            form.add_field(name, value=value)
        return self["xep_0060"].publish(self.boundjid.bare, node, id="current",
                                        payload=ET.fromstring(payload), options=form)

    async def fetch(self, node, text):
        items = await self["xep_0060"].get_items(self.boundjid.bare, node)
        if text not in str(items):
            raise AssertionError("%s is not in %s" % (text, items))

    async def say(self, to, kind, body):
        seen = self.wait("message" if kind == "chat" else "groupchat_message", lambda m: m["body"] == body)
        self.send_message(to, body, mtype=kind)
        await seen

    def wait(self, event, match):
        seen = asyncio.get_event_loop().create_future()

        def look(stanza):
            if match(stanza) and not seen.done():
                self.del_event_handler(event, look)
                seen.set_result(stanza)

        self.add_event_handler(event, look)
        return seen


def expect(want, got):
    if want != got:
        raise AssertionError("got %r, want %r" % (got, want))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--jid", required=True)
    parser.add_argument("--password", required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--mode", required=True, choices=["starttls", "direct"])
    parser.add_argument("--mech", required=True)
    parser.add_argument("--ca", required=True)
    parser.add_argument("--room", required=True)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    client = Client(parser.parse_args())
    loop.run_until_complete(client.run())
    sys.exit(1 if client.failed else 0)


main()
