package jid

import (
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/xdg-go/stringprep"
	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"
	mellium "mellium.im/xmpp/jid"
)

// The profiles of RFC 6122, which today's servers use: nodeprep (appendix A)
// and nameprep (RFC 3491).
var (
	nodeprep = stringprep.Profile{
		Mappings:  []stringprep.Mapping{todoHyphen, stringprep.TableB1, stringprep.TableB2},
		Normalize: true,
		Prohibits: append(prohibited(stringprep.TableC1_1, stringprep.TableC2_1), runeSet(localExcluded)),
		CheckBiDi: true,
	}
	nameprep = stringprep.Profile{
		Mappings:  []stringprep.Mapping{todoHyphen, stringprep.TableB1, stringprep.TableB2},
		Normalize: true,
		Prohibits: prohibited(),
		CheckBiDi: true,
	}
)

// todoHyphen adds the one row of RFC 3454's table B.1 that stringprep.TableB1
// lacks: U+1806 maps to nothing.
var todoHyphen = stringprep.Mapping{0x1806: nil}

// prohibited returns the sets that both profiles prohibit, followed by more.
func prohibited(more ...stringprep.Set) []stringprep.Set {
	return append([]stringprep.Set{
		stringprep.TableC1_2, stringprep.TableC2_2, stringprep.TableC3, stringprep.TableC4,
		stringprep.TableC5, stringprep.TableC6, stringprep.TableC7, stringprep.TableC8, stringprep.TableC9,
	}, more...)
}

func runeSet(sorted string) (set stringprep.Set) {
	for _, r := range sorted {
		set = append(set, stringprep.RuneRange{r, r})
	}
	return set
}

// misread are characters that some servers prepare differently from the tables.
// U+33C6 is normalised to a text with a capital letter, and ejabberd does not
// turn that into lower case. The other five are ideographs whose normal form was
// corrected after Unicode 3.2 (corrigendum 4).
var misread = runeSet("\u33C6\U0002F868\U0002F874\U0002F91F\U0002F95F\U0002F9BF")

// prepare brings a localpart or domainpart into the form in which RFC 7622 and
// RFC 6122 agree. raw must not be empty. prepare refuses a part about which
// they do not agree.
func prepare(part Part, raw string) (string, error) {
	if len(raw) > MaxPart {
		return "", &Error{part, reasonLong}
	}
	if !utf8.ValidString(raw) {
		return "", &Error{part, reasonUTF8}
	}
	out, reason := readBoth(part, raw)
	if reason != "" {
		return "", &Error{part, reason}
	}
	if out != raw {
		// The prepared form is forwarded, so preparing it again must not change
		// it.
		if again, reason := readBoth(part, out); reason != "" || again != out {
			return "", &Error{part, reasonDiffers}
		}
	}
	return out, nil
}

// readBoth prepares a part by RFC 7622 and by RFC 6122. It returns their common
// result, or the reason why there is none.
func readBoth(part Part, s string) (out, reason string) {
	for _, r := range s {
		if r < utf8.RuneSelf {
			continue
		}
		if stringprep.TableA1.Contains(r) {
			return "", reasonUnassigned
		}
		if misread.Contains(r) {
			return "", reasonDiffers
		}
	}
	out, err := readNew(part, s)
	if err != nil {
		return "", reasonForbidden
	}
	old, err := readOld(part, s)
	if err != nil {
		return "", reasonForbidden
	}
	if old != out || sortsMarks(s) || recomposes(out) {
		return "", reasonDiffers
	}
	return out, ""
}

// readNew prepares a part by RFC 7622.
func readNew(part Part, s string) (string, error) {
	if part == Localpart {
		j, err := mellium.JID{}.WithLocal(s)
		return j.Localpart(), err
	}
	j, err := mellium.JID{}.WithDomain(s)
	return j.Domainpart(), err
}

// readOld prepares a part by RFC 6122.
func readOld(part Part, s string) (string, error) {
	if part == Localpart {
		return nodeprep.Prepare(s)
	}
	// Nameprep applies to single labels (RFC 3490 section 4). Only the full
	// stop separates labels: servers do not treat U+3002 as a separator.
	labels := strings.Split(s, ".")
	for i, label := range labels {
		prepared, err := nameprep.Prepare(label)
		if err != nil {
			return "", err
		}
		labels[i] = prepared
	}
	return idna.Punycode.ToUnicode(strings.Join(labels, "."))
}

// resourceFault returns the reason why a resourcepart is refused, or "". b is
// not empty. A resourcepart is at most MaxPart bytes of valid UTF-8. XML must
// allow every character (XML 1.0 section 2.2), and none may be a control
// character. A server's preparation must leave at least one character. If it
// leaves none, ejabberd treats the full address as the bare address, and
// presence sent to the resource as sent to the account.
func resourceFault(b []byte) string {
	if len(b) > MaxPart {
		return reasonLong
	}
	left := false
	for i := 0; i < len(b); {
		if c := b[i]; ' ' <= c && c <= '~' {
			left = true
			i++
			continue
		}
		r, size := utf8.DecodeRune(b[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			return reasonUTF8
		case unicode.IsControl(r), r == 0xFFFE, r == 0xFFFF:
			return reasonForbidden
		}
		left = left || !mapsToNothing(r)
		i += size
	}
	if !left {
		return reasonNothing
	}
	return ""
}

// mapsToNothing reports whether resourceprep deletes r (RFC 6122 appendix B.3,
// RFC 3454 table B.1).
func mapsToNothing(r rune) bool {
	if _, deleted := todoHyphen.Map(r); deleted {
		return true
	}
	_, deleted := stringprep.TableB1.Map(r)
	return deleted
}

// prepareDomain is Domain for names that are not plain ASCII labels.
func prepareDomain(s string) (string, error) {
	s = strings.TrimSuffix(s, ".")
	switch {
	case s == "":
		return "", &Error{Domainpart, reasonEmpty}
	case s[0] == '[':
		return prepareLiteral(s)
	}
	s, err := prepare(Domainpart, s)
	if err != nil {
		return "", err
	}
	ascii, err := idna.Punycode.ToASCII(s)
	if err != nil {
		return "", &Error{Domainpart, reasonForbidden}
	}
	for label := range strings.SplitSeq(ascii, ".") {
		if len(label) == 0 || len(label) > maxLabel {
			return "", &Error{Domainpart, reasonLabel}
		}
		for i := range len(label) {
			if asciiClass[label[i]]&inDomain == 0 {
				return "", &Error{Domainpart, reasonForbidden}
			}
		}
	}
	return s, nil
}

// prepareLiteral parses an IPv6 literal (RFC 7622 section 3.2). Servers compare
// literals as text, so only the canonical spelling of RFC 5952 is accepted.
func prepareLiteral(s string) (string, error) {
	inner, closed := strings.CutSuffix(s[1:], "]")
	ip, err := netip.ParseAddr(inner)
	if !closed || err != nil || !ip.Is6() || ip.Is4In6() || ip.Zone() != "" || ip.String() != strings.ToLower(inner) {
		return "", &Error{Domainpart, reasonLiteral}
	}
	return "[" + ip.String() + "]", nil
}

// sortsMarks reports whether normalization moves a combining mark of s past two
// or more other marks. ejabberd moves a mark by one place only, so it would read
// two spellings of one address as two users.
func sortsMarks(s string) bool {
	var first, second uint8 // the two greatest combining classes since the last starter
	for i, r := range s {
		if r < utf8.RuneSelf {
			first, second = 0, 0
			continue
		}
		if _, deleted := stringprep.TableB1.Map(r); deleted {
			continue
		}
		char := []byte(s[i : i+utf8.RuneLen(r)])
		if d := norm.NFKD.Properties(char).Decomposition(); d != nil {
			char = d
		}
		for len(char) > 0 {
			mark := norm.NFKD.Properties(char)
			switch class := mark.CCC(); {
			case class == 0:
				first, second = 0, 0
			case class < second:
				return true
			case class > first:
				first, second = class, first
			case class > second:
				second = class
			}
			char = char[mark.Size():]
		}
	}
	return false
}

// recomposes reports whether s, in normal form, contains a sequence that
// implementations of Unicode 3.2 wrongly composed: two characters that compose,
// with only combining marks between them (public review issue 29, corrigendum
// 5).
func recomposes(s string) bool {
	starter, marks := "", false
	for i, r := range s {
		char := s[i : i+utf8.RuneLen(r)]
		if norm.NFC.PropertiesString(char).CCC() != 0 {
			marks = true
			continue
		}
		if marks && !norm.NFC.IsNormalString(starter+char) {
			return true
		}
		starter, marks = char, false
	}
	return false
}
