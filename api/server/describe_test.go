package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/events"
)

// An object is a JSON object in the description.
type object = map[string]any

// Describe generates the OpenAPI description of the routes. It is made from the
// table of routes, from the types on the wire, and from the comments of these types.
// wire is the folder with the files that declare them.
func Describe(wire fs.FS) ([]byte, error) {
	table := (&Server{commands: commands()}).table()
	docs, err := readComments(wire)
	if err != nil {
		return nil, err
	}
	d := &describer{docs: docs, schemas: object{}}
	d.schemas["Error"] = object{
		"type": "object", "description": "An answer that is not a success.",
		"required": []string{"code", "text"},
		"properties": object{
			"code": object{"type": "string", "description": "The kind of the error, for programs."},
			"text": object{"type": "string", "description": "The description of the error, for people."},
			"details": object{"type": "array", "description": "All reasons why a command was refused.", "items": object{
				"type": "object", "required": []string{"code", "text"},
				"properties": object{
					"code":  object{"type": "string"},
					"field": object{"type": "string", "description": "The argument at fault. It is absent if the command as a whole is at fault."},
					"text":  object{"type": "string"},
				},
			}},
		},
	}
	paths := object{}
	for i := range table {
		rt := &table[i]
		item, _ := paths[rt.path].(object)
		if item == nil {
			item = object{}
			paths[rt.path] = item
		}
		if item[strings.ToLower(rt.method)], err = d.operation(rt); err != nil {
			return nil, fmt.Errorf("%s: %w", rt.path, err)
		}
	}
	text, err := json.MarshalIndent(object{
		"openapi": "3.1.0",
		"info": object{
			"title": "Postern admin API", "version": "1",
			"description": "The API to administer a policy node. Requests are parsed strictly: a request with fields or parameters that are not described here is refused. Answers of newer versions may have more fields; clients must ignore unknown fields. x-postern-scope is the scope that a caller needs. An operator may use every operation. \"operator\" is for operators only, \"tenant read\" is also for callers that may read the tenant of the path, \"tenant write\" is also for callers that may change it, and \"any\" is for every caller.",
		},
		"paths":      paths,
		"components": object{"schemas": d.schemas, "securitySchemes": object{"token": object{"type": "http", "scheme": "bearer"}}},
		"security":   []object{{"token": []string{}}},
	}, "", "  ")
	return append(text, '\n'), err
}

type describer struct {
	docs    comments
	schemas object
}

var pathParams = regexp.MustCompile(`\{(\w+)\}`)

func (d *describer) operation(rt *route) (object, error) {
	op := object{"operationId": rt.name, "summary": rt.summary, "x-postern-scope": rt.scope.String()}
	if doc := strings.TrimSpace(rt.doc + " " + d.commandDoc(rt)); doc != "" {
		op["description"] = doc
	}
	var params []object
	for _, m := range pathParams.FindAllStringSubmatch(rt.path, -1) {
		params = append(params, object{"name": m[1], "in": "path", "required": true, "schema": object{"type": "string"}})
	}
	for _, p := range rt.query {
		params = append(params, object{"name": p.name, "in": "query", "description": p.doc, "schema": schemaOf(p)})
	}
	if params != nil {
		op["parameters"] = params
	}
	codes := append(slices.Clone(commonCodes), rt.errors...)
	if rt.request != nil {
		codes = append(codes, api.CodeMediaType, api.CodeTooLarge)
		body, err := d.body(rt)
		if err != nil {
			return nil, err
		}
		op["requestBody"] = object{"required": true, "content": content(body)}
	}
	reply, err := d.schema(reflect.TypeOf(rt.reply))
	if err != nil {
		return nil, err
	}
	responses := object{"200": object{"description": "Done.", "content": content(reply)}}
	byStatus := map[int][]api.Code{}
	for _, c := range codes {
		status := statusOf(c)
		byStatus[status] = append(byStatus[status], c)
	}
	for status, codes := range byStatus {
		slices.Sort(codes)
		codes = slices.Compact(codes)
		words := make([]string, len(codes))
		for i, c := range codes {
			words[i] = string(c)
		}
		responses[fmt.Sprint(status)] = object{
			"description": "Refused: " + strings.Join(words, ", ") + ".",
			"content": content(object{"type": "object", "required": []string{"error"}, "properties": object{
				"error": object{"allOf": []object{{"$ref": "#/components/schemas/Error"}, {"properties": object{"code": object{"enum": words}}}}},
			}}),
		}
	}
	op["responses"] = responses
	return op, nil
}

func content(schema object) object {
	return object{"application/json": object{"schema": schema}}
}

func (d *describer) commandDoc(rt *route) string {
	if rt.command == "" {
		return ""
	}
	return d.docs.types[reflect.TypeOf(rt.request).Name()]
}

// body returns the schema of a request's body. The arguments of a command are part
// of an api.CommandRequest.
func (d *describer) body(rt *route) (object, error) {
	args, err := d.schema(reflect.TypeOf(rt.request))
	if err != nil || rt.command == "" {
		return args, err
	}
	return object{
		"type": "object", "additionalProperties": false,
		"properties": object{
			"command_id": object{"type": "string", "description": "The command's id. If the same command is sent again with the same id, the node returns the first result. A different command with the same id is a conflict; reason, if_version and if_log do not make a command different. Absent: the node makes an id."},
			"reason":     object{"type": "string", "description": "The actor's own explanation, which the log keeps."},
			"if_version": object{"type": "integer", "minimum": 0, "description": "The version that the tenant must have. Absent or 0: any version."},
			"if_log":     object{"type": "string", "description": "The log_id of the answer that if_version was read from. If the node has another log now, the command is a conflict. Absent: any log."},
			"args":       args,
		},
	}, nil
}

// schemaOf returns the schema of a query parameter.
func schemaOf(p param) object {
	switch {
	case p.kind == number:
		s := object{"type": "integer", "minimum": p.min, "maximum": p.max}
		if p.def != 0 {
			s["default"] = p.def
		}
		return s
	case p.kind == truth:
		return object{"type": "boolean"}
	case len(p.oneOf) > 0:
		return object{"type": "string", "enum": p.oneOf}
	}
	return object{"type": "string", "minLength": 1, "maxLength": p.max}
}

var errNoSchema = errors.New("this type has no schema")

// schema returns the schema of a type. For a struct, it is a reference to a
// component.
func (d *describer) schema(t reflect.Type) (object, error) {
	switch t {
	case reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}, nil
	case reflect.TypeFor[json.RawMessage]():
		return object{"type": "object"}, nil
	}
	switch t.Kind() {
	case reflect.Pointer:
		return d.schema(t.Elem())
	case reflect.String:
		return object{"type": "string"}, nil
	case reflect.Bool:
		return object{"type": "boolean"}, nil
	case reflect.Uint64, reflect.Uint32, reflect.Uint:
		return object{"type": "integer", "minimum": 0}, nil
	case reflect.Int, reflect.Int64:
		return object{"type": "integer"}, nil
	case reflect.Slice:
		items, err := d.schema(t.Elem())
		return object{"type": "array", "items": items}, err
	case reflect.Map:
		values, err := d.schema(t.Elem())
		return object{"type": "object", "additionalProperties": values}, err
	case reflect.Struct:
		return d.component(t)
	}
	return nil, fmt.Errorf("%s: %w", t, errNoSchema)
}

func (d *describer) component(t reflect.Type) (object, error) {
	ref := object{"$ref": "#/components/schemas/" + t.Name()}
	if _, done := d.schemas[t.Name()]; done {
		return ref, nil
	}
	s := object{"type": "object"}
	d.schemas[t.Name()] = s // set before the fields are described, because a type may contain itself
	if doc := d.docs.types[t.Name()]; doc != "" {
		s["description"] = doc
	}
	properties := object{}
	var required []string
	if err := d.fields(t, properties, &required); err != nil {
		return nil, fmt.Errorf("%s: %w", t.Name(), err)
	}
	s["properties"] = properties
	if required != nil {
		s["required"] = required
	}
	return ref, nil
}

// fields describes the fields of a struct and of the structs embedded in it. If an
// embedded struct has the tag openapi:"required", its fields, which are optional in
// requests, are always present in the answer that embeds it.
func (d *describer) fields(t reflect.Type, properties object, required *[]string) error {
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			optional := len(*required)
			if err := d.fields(f.Type, properties, required); err != nil {
				return err
			}
			if f.Tag.Get("openapi") == "required" {
				*required = append((*required)[:optional], names(f.Type)...)
			}
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			return fmt.Errorf("%s: no name on the wire", f.Name)
		}
		schema, err := d.schema(f.Type)
		if err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		doc := d.docs.fields[t.Name()+"."+f.Name]
		if values := valuesOf(t, name); values != "" {
			doc = strings.TrimPrefix(doc+": "+values, ": ")
		}
		if doc != "" {
			if _, ref := schema["$ref"]; ref {
				schema = object{"allOf": []object{schema}}
			}
			schema["description"] = doc
		}
		properties[name] = schema
		if options == "" {
			*required = append(*required, name)
		}
	}
	return nil
}

// valuesOf describes the values of a field that package events enumerates. For any
// other field it returns an empty text.
func valuesOf(t reflect.Type, name string) string {
	if t == reflect.TypeFor[api.Backend]() && name == "security" {
		return "one of " + strings.Join(events.Names[events.Security](), ", ")
	}
	if setting, ok := events.SettingNamed(name); ok {
		return fmt.Sprintf("one of %s; a new tenant's is %s", strings.Join(setting.Values, ", "), setting.Values[0])
	}
	return ""
}

// names returns the names of a struct's fields on the wire.
func names(t reflect.Type) []string {
	var list []string
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		list = append(list, name)
	}
	return list
}

// comments are the comments of the types on the wire and of their fields.
type comments struct {
	types  map[string]string
	fields map[string]string // by "Type.Field"
}

func readComments(source fs.FS) (comments, error) {
	c := comments{map[string]string{}, map[string]string{}}
	names, err := fs.Glob(source, "wire*.go")
	if err != nil {
		return c, err
	}
	for _, name := range names {
		text, err := fs.ReadFile(source, name)
		if err != nil {
			return c, err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return c, err
		}
		for _, decl := range file.Decls {
			if g, ok := decl.(*ast.GenDecl); ok && g.Tok == token.TYPE {
				c.read(g)
			}
		}
	}
	return c, nil
}

func (c comments) read(g *ast.GenDecl) {
	for _, spec := range g.Specs {
		t, ok := spec.(*ast.TypeSpec)
		if !ok {
			continue
		}
		doc := t.Doc
		if doc == nil && !g.Lparen.IsValid() {
			doc = g.Doc
		}
		c.types[t.Name.Name] = oneLine(doc)
		fields, ok := t.Type.(*ast.StructType)
		if !ok {
			continue
		}
		for _, f := range fields.Fields.List {
			text := strings.TrimSpace(oneLine(f.Doc) + " " + oneLine(f.Comment))
			for _, name := range f.Names {
				c.fields[t.Name.Name+"."+name.Name] = text
			}
		}
	}
}

func oneLine(g *ast.CommentGroup) string {
	return strings.Join(strings.Fields(g.Text()), " ")
}
