package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/postern-im/postern/api"
)

// maxDepth bounds the nesting of a request. The deepest request is a tenant with its
// domains and their backends.
const maxDepth = 8

// decodeBody parses a request's body into v, strictly.
func decodeBody(w http.ResponseWriter, r *http.Request, v any) error {
	if mediaType, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); strings.TrimSpace(mediaType) != "application/json" {
		return &api.Error{Code: api.CodeMediaType, Text: "the body must be application/json"}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxRequest))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return &api.Error{Code: api.CodeTooLarge, Text: fmt.Sprintf("the body is larger than %d bytes", MaxRequest)}
	case err != nil:
		return &api.Error{Code: api.CodeBadRequest, Text: "the body ended early"}
	}
	if err := decode(body, v); err != nil {
		return &api.Error{Code: api.CodeBadRequest, Text: err.Error()}
	}
	return nil
}

// decode parses one JSON value into v. It refuses everything that two parsers might
// treat differently: unknown fields, names in another case, repeated names, null,
// invalid UTF-8 and bytes after the value. Its errors are safe to show: they name
// only what the client sent.
func decode(body []byte, v any) error {
	if !utf8.Valid(body) {
		return errors.New("the body is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	if err := checkValue(d, 1); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more after the end of the JSON value")
	}
	d = json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return jsonError(err)
	}
	return nil
}

// checkValue reads one value. It makes the checks of decode that encoding/json does
// not make.
func checkValue(d *json.Decoder, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("JSON nested deeper than %d", maxDepth)
	}
	token, err := d.Token()
	if err != nil {
		return jsonError(err)
	}
	switch token := token.(type) {
	case nil:
		return errors.New("null is not allowed; leave the field out")
	case string:
		return checkText(token)
	case json.Delim:
		if token == '{' {
			return checkObject(d, depth)
		}
		for d.More() {
			if err := checkValue(d, depth+1); err != nil {
				return err
			}
		}
		if _, err := d.Token(); err != nil {
			return jsonError(err)
		}
	}
	return nil
}

// checkObject checks the rest of an object whose opening brace was read.
func checkObject(d *json.Decoder, depth int) error {
	seen := map[string]bool{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return jsonError(err)
		}
		name, _ := token.(string)
		if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz_") != "" {
			// encoding/json would match names in any case.
			return fmt.Errorf("unknown field %q", name)
		}
		if seen[name] {
			return fmt.Errorf("field %q is given twice", name)
		}
		seen[name] = true
		if err := checkValue(d, depth+1); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return jsonError(err)
	}
	return nil
}

// checkText refuses U+FFFD, because encoding/json replaces an invalid character by
// it, such as half a surrogate pair.
func checkText(s string) error {
	if strings.ContainsRune(s, utf8.RuneError) {
		return errors.New("a text contains U+FFFD or half a surrogate pair")
	}
	return nil
}

// jsonError rewrites an error of encoding/json without the names of Go types.
func jsonError(err error) error {
	var syntax *json.SyntaxError
	var typ *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("not JSON at byte %d: %v", syntax.Offset, err)
	case errors.As(err, &typ):
		return fmt.Errorf("field %q: a value of type %s is not allowed here", withoutEmbedded(typ.Field), typ.Value)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the JSON value is not complete")
	}
	return errors.New(strings.TrimPrefix(err.Error(), "json: ")) // unknown field "x"
}

// withoutEmbedded removes the names of embedded structs from the path of a field,
// because they are not on the wire. These names begin with a capital letter; names
// on the wire do not.
func withoutEmbedded(path string) string {
	names := slices.DeleteFunc(strings.Split(path, "."), func(name string) bool {
		return name != "" && name[0] >= 'A' && name[0] <= 'Z'
	})
	return strings.Join(names, ".")
}
