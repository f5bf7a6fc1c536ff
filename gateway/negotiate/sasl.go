package negotiate

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"

	"github.com/postern-im/postern/xmpp/stream"
)

// maxChallenges bounds the challenges of one exchange. SCRAM needs one, or two
// if the server sends its proof as a challenge.
const maxChallenges = 4

// authenticate relays SASL (RFC 6120 section 6) until it succeeds. It accepts
// only auth, response and abort from the client. It decodes each element of
// the client and of the backend, and writes a new element in its place.
func (x *negotiation) authenticate() error {
	if err := x.client.write(x.offered.appendMechanisms(nil, limitsBefore())); err != nil {
		return readFailure(err)
	}
	for range maxAttempts {
		done, err := x.attempt()
		if done || err != nil {
			return err
		}
	}
	return fail("policy-violation", "too many authentication attempts", nil)
}

// attempt runs one SASL exchange. done reports that it succeeded.
func (x *negotiation) attempt() (done bool, err error) {
	el, err := x.saslElement()
	if err != nil {
		return false, err
	}
	x.login = Login{Domain: x.domain, Tenant: x.admission.Tenant, Remote: x.remote}
	switch string(el.Local()) {
	case "abort":
		return false, x.refuse("aborted")
	case "response":
		return false, x.refuse(malformedRequest)
	}
	mechanism, _ := el.Attr("mechanism")
	x.mechanism = string(mechanism)
	if !slices.Contains(x.offered.mechanisms, x.mechanism) {
		return false, x.refuse("invalid-mechanism")
	}
	x.login.Mechanism = x.mechanism
	message, failure, err := x.firstMessage(el)
	if err != nil {
		return false, err
	}
	if failure != "" {
		return false, x.refuse(failure)
	}
	user, relay, failure := initial(x.mechanism, message, x.domain)
	if failure == "" {
		x.login.Account = string(user.Bytes())
	}
	if limit := x.logins.Limited(x.login); limit != "" {
		x.login.Limit = limit
		return false, x.refuse(temporaryAuthFailure)
	}
	if failure != "" {
		return false, x.refuse(failure)
	}
	x.user = user
	return x.exchange(appendSASL(nil, "auth", x.mechanism, relay))
}

// saslElement reads an auth, response or abort element.
func (x *negotiation) saslElement() (stream.Element, error) {
	el, err := x.clientElement()
	if err != nil {
		return el, err
	}
	if string(el.Space()) == nsSASL {
		switch string(el.Local()) {
		case "auth", "response", "abort":
			return el, nil
		}
	}
	return el, fail("not-authorized", "authentication is required first", nil)
}

// firstMessage returns the client's first message. If auth does not contain
// it, firstMessage requests it with an empty challenge (RFC 6120 section
// 6.4.2).
func (x *negotiation) firstMessage(auth stream.Element) (message []byte, failure string, err error) {
	el := auth
	if auth.NumChildren() == 0 && !auth.HasText() && isEmpty(auth) {
		if err := x.client.write(appendSASL(nil, "challenge", "", nil)); err != nil {
			return nil, "", readFailure(err)
		}
		if el, err = x.saslElement(); err != nil {
			return nil, "", err
		}
		switch string(el.Local()) {
		case "abort":
			return nil, "aborted", nil
		case "auth":
			return nil, malformedRequest, nil
		}
	}
	message, ok := content(el)
	if !ok {
		return nil, malformedRequest, nil
	}
	return message, "", nil
}

func isEmpty(el stream.Element) bool {
	start, end := el.ContentSpan()
	return start == end
}

// content decodes the content of a SASL element. ok is false unless the content
// is one piece of base64. An empty element contains an empty message.
func content(el stream.Element) ([]byte, bool) {
	if el.NumChildren() > 0 {
		return nil, false
	}
	if isEmpty(el) {
		return nil, true
	}
	return decode64(el.Text(nil))
}

// exchange relays the client's first message, and then the backend's challenges
// and the client's responses.
func (x *negotiation) exchange(message []byte) (done bool, err error) {
	for range maxChallenges {
		el, err := x.ask(message)
		if ended, ok := errors.AsType[*backendEnded](err); ok && ended.condition == "policy-violation" {
			// ejabberd's mod_fail2ban answers the first failure over its limit
			// like this.
			x.noteFailure(notAuthorized)
			return false, fail("policy-violation", "the domain's server refuses further attempts", err)
		}
		if err != nil {
			return false, backendFailure(err)
		}
		if string(el.Space()) != nsSASL {
			return false, backendFailure(errors.New("SASL element expected"))
		}
		name := string(el.Local())
		if name == "failure" {
			return false, x.refuse(conditionOf(el, nsSASL))
		}
		data, ok := content(el)
		if !ok || name != "challenge" && name != "success" {
			return false, backendFailure(errors.New("malformed SASL element"))
		}
		x.checkList(name, data)
		if err := x.client.write(appendSASL(nil, name, "", data)); err != nil {
			return false, readFailure(err)
		}
		if name == "success" {
			x.failed = ""
			return true, nil
		}
		if message, err = x.response(); err != nil {
			return false, err
		}
	}
	return false, backendFailure(errors.New("too many SASL challenges"))
}

// checkList calls x.withheld if a challenge contains a hash of the backend's
// mechanisms (XEP-0474) and the gateway has withheld some of them. A client
// that checks the hash then does not log in.
func (x *negotiation) checkList(name string, data []byte) {
	if name != "challenge" || !isSCRAM(x.mechanism) || len(x.offered.withheld) == 0 || x.withheld == nil {
		return
	}
	for attribute := range strings.SplitSeq(string(data), ",") {
		// The attribute of XEP-0474 is h=. In earlier versions it was d=.
		if strings.HasPrefix(attribute, "h=") || strings.HasPrefix(attribute, "d=") {
			x.withheld(x.domain, x.offered.withheld)
			return
		}
	}
}

// response reads the client's answer to a challenge and returns the element to
// relay. Any SASL element other than a valid response is relayed as an abort,
// which the backend answers with a failure.
func (x *negotiation) response() ([]byte, error) {
	el, err := x.saslElement()
	if err != nil {
		return nil, err
	}
	if string(el.Local()) == "response" {
		if data, ok := content(el); ok {
			return appendSASL(nil, "response", "", data), nil
		}
	}
	return appendSASL(nil, "abort", "", nil), nil
}

// refuse sends the client a SASL failure. It reports the failure first, because
// sending fails if the client is gone.
func (x *negotiation) refuse(condition string) error {
	switch condition {
	case "aborted", "account-disabled", "credentials-expired", "encryption-required",
		"incorrect-encoding", invalidAuthzid, "invalid-mechanism", malformedRequest,
		"mechanism-too-weak", temporaryAuthFailure:
	default:
		condition = notAuthorized
	}
	x.noteFailure(condition)
	if err := x.client.write([]byte("<failure xmlns='" + nsSASL + "'><" + condition + "/></failure>")); err != nil {
		return readFailure(err)
	}
	return nil
}

// noteFailure reports that the current attempt failed.
func (x *negotiation) noteFailure(condition string) {
	x.failed, x.login.Condition = condition, condition
	x.logins.Failed(x.login)
}

// appendSASL appends a SASL element with its content in base64. An auth
// element with an empty message would need "=" as content, but the gateway
// never relays an empty first message.
func appendSASL(dst []byte, name, mechanism string, data []byte) []byte {
	dst = append(dst, '<')
	dst = append(dst, name...)
	dst = append(dst, " xmlns='"+nsSASL+"'"...)
	if mechanism != "" {
		dst = append(dst, " mechanism='"...)
		dst = append(dst, mechanism...)
		dst = append(dst, '\'')
	}
	if len(data) == 0 {
		return append(dst, "/>"...)
	}
	dst = append(dst, '>')
	dst = base64.StdEncoding.AppendEncode(dst, data)
	dst = append(dst, "</"...)
	dst = append(dst, name...)
	return append(dst, '>')
}
