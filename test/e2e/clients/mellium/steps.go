package main

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"mellium.im/xmpp/blocklist"
	"mellium.im/xmpp/bookmarks"
	"mellium.im/xmpp/carbons"
	"mellium.im/xmpp/disco"
	"mellium.im/xmpp/disco/items"
	"mellium.im/xmpp/history"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/muc"
	"mellium.im/xmpp/ping"
	"mellium.im/xmpp/pubsub"
	"mellium.im/xmpp/roster"
	"mellium.im/xmpp/stanza"
)

const (
	omemo      = "eu.siacs.conversations.axolotl"
	avatarID   = "7e2c41b4a3c1b0b8a5c5f0d3f6a1d2e3c4b5a697"
	avatarData = "urn:xmpp:avatar:data"
	avatarMeta = "urn:xmpp:avatar:metadata"
	nickNode   = "http://jabber.org/protocol/nick"
	nick       = "mel"
)

// run does every step after log-in, in order, even if earlier steps failed.
func (c *client) run(ctx context.Context) {
	own := c.session.LocalAddr().Bare()
	server := own.Domain()
	for _, s := range []struct {
		name   string
		action func(context.Context) error
	}{
		{"disco-info-server", func(ctx context.Context) error { return c.info(ctx, server) }},
		{"disco-items-server", func(ctx context.Context) error { return c.items(ctx, server) }},
		{"disco-info-account", func(ctx context.Context) error { return c.info(ctx, own) }},
		{"disco-items-account", func(ctx context.Context) error { return c.items(ctx, own) }},
		{"roster", func(ctx context.Context) error { return drain(roster.Fetch(ctx, c.session)) }},
		{"carbons", func(ctx context.Context) error { return carbons.Enable(ctx, c.session) }},
		{"presence", c.available},
		{"archive-query", func(ctx context.Context) error {
			return drain(c.archive.Fetch(ctx, history.Query{Limit: 5}, jid.JID{}, c.session))
		}},
		{"archive-preferences", c.get("<prefs xmlns='urn:xmpp:mam:2'/>")},
		{"bookmarks-pep", func(ctx context.Context) error { return drain(bookmarks.Fetch(ctx, c.session)) }},
		{"bookmarks-private", c.get("<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'/></query>")},
		{"blocklist", func(ctx context.Context) error { return drain(blocklist.Fetch(ctx, c.session)) }},
		{"vcard-publish", c.set("<vCard xmlns='vcard-temp'><FN>Mel Lium</FN></vCard>")},
		{"vcard-fetch", c.vcard},
		{"avatar-publish", c.publishAvatar},
		{"avatar-fetch", c.fetch(avatarData, avatar)},
		{"omemo-devices-publish", c.publish(omemo+".devicelist", "current",
			"<list xmlns='"+omemo+"'><device id='16180'/></list>")},
		{"omemo-bundle-publish", c.publish(omemo+".bundles:16180", "current",
			"<bundle xmlns='"+omemo+"'><signedPreKeyPublic signedPreKeyId='1'>Ag==</signedPreKeyPublic>"+
				"<identityKey>Aw==</identityKey><prekeys><preKeyPublic preKeyId='1'>BA==</preKeyPublic></prekeys></bundle>")},
		{"omemo-devices-fetch", c.fetch(omemo+".devicelist", "16180")},
		{"omemo-bundle-fetch", c.fetch(omemo+".bundles:16180", "Aw==")},
		{"nick", c.publish(nickNode, "current", "<nick xmlns='"+nickNode+"'>Mel</nick>")},
		{"ping", func(ctx context.Context) error { return ping.Send(ctx, c.session, server) }},
		{"room-join", c.join},
		{"room-message", func(ctx context.Context) error {
			return c.say(ctx, c.options.room, stanza.GroupChatMessage, "hello, room")
		}},
		{"chat", func(ctx context.Context) error {
			return c.say(ctx, own.String(), stanza.ChatMessage, "note to self")
		}},
		{"logout", c.logout},
	} {
		c.step(ctx, s.name, s.action)
	}
}

func (c *client) info(ctx context.Context, of jid.JID) error {
	info, err := disco.GetInfo(ctx, "", of, c.session)
	if err == nil && len(info.Identity) == 0 {
		return fmt.Errorf("%s has no identity", of)
	}
	return err
}

func (c *client) items(ctx context.Context, of jid.JID) error {
	return drain(disco.FetchItems(ctx, items.Item{JID: of}, c.session))
}

// drain reads a list to its end.
func drain(list interface {
	Next() bool
	Err() error
	Close() error
}) error {
	for list.Next() {
		continue
	}
	err := list.Err()
	if closing := list.Close(); err == nil {
		err = closing
	}
	return err
}

func (c *client) available(ctx context.Context) error {
	self := c.session.LocalAddr()
	if err := c.session.Send(ctx, stanza.Presence{}.Wrap(nil)); err != nil {
		return err
	}
	return await(ctx, c.presences, func(from jid.JID) bool { return from.Equal(self) })
}

func (c *client) get(payload string) func(context.Context) error {
	return c.request(stanza.GetIQ, payload)
}

func (c *client) set(payload string) func(context.Context) error {
	return c.request(stanza.SetIQ, payload)
}

func (c *client) request(kind stanza.IQType, payload string) func(context.Context) error {
	return func(ctx context.Context) error {
		var answer struct { // accepts any payload, or none
			XMLName xml.Name
		}
		return c.session.UnmarshalIQElement(ctx, tokens(payload), stanza.IQ{Type: kind}, &answer)
	}
}

func (c *client) vcard(ctx context.Context) error {
	var answer struct {
		XMLName xml.Name `xml:"vcard-temp vCard"`
		Name    string   `xml:"FN"`
	}
	err := c.session.UnmarshalIQElement(ctx, tokens("<vCard xmlns='vcard-temp'/>"), stanza.IQ{Type: stanza.GetIQ}, &answer)
	if err == nil && answer.Name != "Mel Lium" {
		return fmt.Errorf("got the name %q", answer.Name)
	}
	return err
}

func (c *client) publish(node, id, item string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := pubsub.Publish(ctx, c.session, node, id, tokens(item))
		return err
	}
}

func (c *client) publishAvatar(ctx context.Context) error {
	data := "<data xmlns='" + avatarData + "'>" + avatar + "</data>"
	if err := c.publish(avatarData, avatarID, data)(ctx); err != nil {
		return err
	}
	return c.publish(avatarMeta, avatarID, "<metadata xmlns='"+avatarMeta+"'><info id='"+avatarID+
		"' type='image/png' bytes='40'/></metadata>")(ctx)
}

// fetch reads a whole node and looks for a text in it.
func (c *client) fetch(node, wanted string) func(context.Context) error {
	return func(ctx context.Context) (err error) {
		list := pubsub.Fetch(ctx, c.session, pubsub.Query{Node: node})
		defer func() {
			if closing := list.Close(); err == nil {
				err = closing
			}
		}()
		var all strings.Builder
		for list.Next() {
			if _, r := list.Item(); r != nil {
				if err := copyText(&all, r); err != nil {
					return err
				}
			}
		}
		if err := list.Err(); err != nil {
			return err
		}
		if !strings.Contains(all.String(), wanted) {
			return fmt.Errorf("%s is not in %q", wanted, all.String())
		}
		return nil
	}
}

// copyText collects character data and the values of attributes.
func copyText(to *strings.Builder, from xml.TokenReader) error {
	for {
		token, err := from.Token()
		switch token := token.(type) {
		case xml.StartElement:
			for _, a := range token.Attr {
				to.WriteString(a.Value + " ")
			}
		case xml.CharData:
			to.Write(token)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (c *client) join(ctx context.Context) error {
	room, err := jid.Parse(c.options.room + "/" + nick)
	if err != nil {
		return err
	}
	_, err = c.rooms.Join(ctx, room, c.session, muc.MaxHistory(0))
	return err
}

func (c *client) say(ctx context.Context, to string, kind stanza.MessageType, body string) error {
	address, err := jid.Parse(to)
	if err != nil {
		return err
	}
	message := stanza.Message{To: address, Type: kind}
	if err := c.session.Send(ctx, message.Wrap(tokens("<body>"+body+"</body>"))); err != nil {
		return err
	}
	return await(ctx, c.bodies, func(seen string) bool { return seen == body })
}

func (c *client) logout(context.Context) error {
	err := c.session.Close()
	c.served.Wait()
	return err
}

// tokens parses XML that this program wrote itself.
func tokens(text string) xml.TokenReader {
	return xml.NewDecoder(strings.NewReader(text))
}
