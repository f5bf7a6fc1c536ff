package events_test

import (
	"bytes"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/postern-im/postern/events"
)

// schema returns the compiled events.proto, as another program would use it.
func schema(t testing.TB) protoreflect.FileDescriptor {
	t.Helper()
	c := protocompile.Compiler{
		Resolver:       &protocompile.SourceResolver{},
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	files, err := c.Compile(t.Context(), "events.proto")
	if err != nil {
		t.Fatal(err)
	}
	return files[0]
}

// toSchema converts a Go value to a message of the schema by names only: each Go
// field becomes the field of the schema with the same letters.
func toSchema(t testing.TB, v reflect.Value, d protoreflect.MessageDescriptor) *dynamicpb.Message {
	t.Helper()
	m := dynamicpb.NewMessage(d)
	if v.NumField() != d.Fields().Len() {
		t.Fatalf("%s has %d fields in Go and %d in the schema", d.Name(), v.NumField(), d.Fields().Len())
	}
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		f := fieldByLetters(d, name)
		if f == nil {
			t.Fatalf("%s.%s is not in the schema", d.Name(), name)
		}
		setField(t, m, f, v.Field(i))
	}
	return m
}

func fieldByLetters(d protoreflect.MessageDescriptor, name string) protoreflect.FieldDescriptor {
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		if strings.EqualFold(strings.ReplaceAll(string(f.Name()), "_", ""), name) {
			return f
		}
	}
	return nil
}

func setField(t testing.TB, m *dynamicpb.Message, f protoreflect.FieldDescriptor, v reflect.Value) {
	switch {
	case f.IsList():
		list := m.Mutable(f).List()
		for i := range v.Len() {
			list.Append(toValue(t, f, v.Index(i)))
		}
	case v.Type() == reflect.TypeFor[[32]byte](): // this hash is present even if it is zero
		hash := v.Interface().([32]byte)
		m.Set(f, protoreflect.ValueOfBytes(hash[:]))
	case !v.IsZero():
		m.Set(f, toValue(t, f, v))
	}
}

func toValue(t testing.TB, f protoreflect.FieldDescriptor, v reflect.Value) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(v.String())
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(v.Uint())
	case protoreflect.BytesKind:
		hash := v.Interface().(events.CommandHash)
		return protoreflect.ValueOfBytes(hash[:])
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(v.Bool())
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(v.Uint()))
	case protoreflect.Int64Kind: // used only for the commit's time
		micros := v.MethodByName("UnixMicro").Call(nil)[0].Int()
		return protoreflect.ValueOfInt64(micros)
	case protoreflect.MessageKind:
		if f.Message().Name() == "Event" {
			v = v.Elem() // the value in the interface
			e := dynamicpb.NewMessage(f.Message())
			one := fieldByLetters(f.Message(), v.Type().Name())
			if one == nil {
				t.Fatalf("event %s is not in the schema", v.Type().Name())
			}
			e.Set(one, protoreflect.ValueOfMessage(toSchema(t, v, one.Message())))
			return protoreflect.ValueOfMessage(e)
		}
		return protoreflect.ValueOfMessage(toSchema(t, v, f.Message()))
	}
	t.Fatalf("field %s has a kind this test does not know", f.FullName())
	return protoreflect.Value{}
}

// TestSchema encodes commits with this package and with the schema. The bytes must
// be the same, and each side must decode the bytes of the other side.
func TestSchema(t *testing.T) {
	d := schema(t).Messages().ByName("Commit")
	commits := []events.Commit{sampleCommit(everyEvent()...)}
	first := sampleCommit(events.TenantCreated{Name: "x"})
	first.Position, first.Previous, first.Tenant, first.Reason = 1, [32]byte{}, "", ""
	first.CommandHash = events.CommandHash{}
	commits = append(commits, first)
	rng := rand.New(rand.NewPCG(1, 1))
	for range 2000 {
		commits = append(commits, randomCommit(rng))
	}
	for i, c := range commits {
		want := toSchema(t, reflect.ValueOf(c), d)
		byHand := events.AppendCommit(nil, &c)
		bySchema, err := proto.MarshalOptions{Deterministic: true}.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(byHand, bySchema) {
			t.Fatalf("commit %d (%+v):\nby hand   %x\nby schema %x", i, c, byHand, bySchema)
		}
		got := dynamicpb.NewMessage(d)
		if err := proto.Unmarshal(byHand, got); err != nil || !proto.Equal(got, want) {
			t.Fatalf("commit %d: the schema reads\n%v, want\n%v (%v)", i, got, want, err)
		}
		back, err := events.DecodeCommit(bySchema)
		if err != nil || !reflect.DeepEqual(*back, c) {
			t.Fatalf("commit %d: by hand reads\n%+v, want\n%+v (%v)", i, back, c, err)
		}
	}
}

// TestEveryEvent compares the event types in the source, in the schema and in
// everyEvent.
func TestEveryEvent(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var inSource, inSchema, inSamples []string
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv != nil && fn.Name.Name == "encode" {
				inSource = append(inSource, fn.Recv.List[0].Type.(*ast.Ident).Name)
			}
		}
	}
	one := schema(t).Messages().ByName("Event").Fields()
	for i := range one.Len() {
		inSchema = append(inSchema, string(one.Get(i).Message().Name()))
	}
	for _, e := range everyEvent() {
		if name := reflect.TypeOf(e).Name(); !slices.Contains(inSamples, name) {
			inSamples = append(inSamples, name)
		}
	}
	slices.Sort(inSource)
	slices.Sort(inSchema)
	slices.Sort(inSamples)
	if !slices.Equal(inSource, inSchema) || !slices.Equal(inSource, inSamples) {
		t.Errorf("events in the source %v\nin the schema %v\nin the samples %v", inSource, inSchema, inSamples)
	}
}

// TestSchemaRequired removes each field. The decoder must refuse the record if, and
// only if, the schema's comment says "required".
func TestSchemaRequired(t *testing.T) {
	file := schema(t)
	required := func(f protoreflect.FieldDescriptor) bool {
		return strings.HasPrefix(strings.TrimSpace(file.SourceLocations().ByDescriptor(f).TrailingComments), "required")
	}
	full := sampleCommit(everyEvent()[:23]...)
	fields := 0
	everyMessage(t, file, full, func(root, m protoreflect.Message) {
		if m.Descriptor().Name() == "Event" {
			return
		}
		for i := range m.Descriptor().Fields().Len() {
			f := m.Descriptor().Fields().Get(i)
			if !m.Has(f) {
				continue // only the other Backend has this field
			}
			fields++
			was := m.Get(f)
			m.Clear(f)
			_, err := decodeDynamic(t, root)
			m.Set(f, was)
			switch {
			case required(f) && !errors.Is(err, events.ErrMissing):
				t.Errorf("%s is required, but without it: %v", f.FullName(), err)
			case !required(f) && err != nil:
				t.Errorf("%s is not required, but without it: %v", f.FullName(), err)
			}
		}
	})
	if fields < 40 {
		t.Errorf("only %d fields were tried", fields)
	}
}

// TestSchemaUnknown checks that additions of a newer schema are refused: a new
// field in each message, a new value of each enum, and a new event.
func TestSchemaUnknown(t *testing.T) {
	file := schema(t)
	full := sampleCommit(everyEvent()...)
	everyMessage(t, file, full, func(root, m protoreflect.Message) {
		fields := m.Descriptor().Fields()
		next := protoreflect.FieldNumber(1)
		for i := range fields.Len() {
			next = max(next, fields.Get(i).Number()+1)
		}
		want := events.ErrUnknownField
		if m.Descriptor().Name() == "Event" {
			want = events.ErrUnknownEvent
			only := m.WhichOneof(m.Descriptor().Oneofs().Get(0))
			was := m.Get(only)
			m.Clear(only)
			defer m.Set(only, was)
		}
		unknown := protowire.AppendTag(nil, next, protowire.BytesType)
		m.SetUnknown(protowire.AppendBytes(unknown, nil))
		if _, err := decodeDynamic(t, root); !errors.Is(err, want) {
			t.Errorf("%s with field %d: %v, want %v", m.Descriptor().Name(), next, err, want)
		}
		m.SetUnknown(nil)
		for i := range fields.Len() {
			f := fields.Get(i)
			if f.Kind() != protoreflect.EnumKind {
				continue
			}
			was := m.Get(f)
			m.Set(f, protoreflect.ValueOfEnum(protoreflect.EnumNumber(f.Enum().Values().Len())))
			if _, err := decodeDynamic(t, root); !errors.Is(err, events.ErrUnknownValue) {
				t.Errorf("%s with its next value: %v", f.FullName(), err)
			}
			m.Set(f, was)
		}
	})
}

// everyMessage calls fn for each message in a commit, including the commit itself.
func everyMessage(t *testing.T, file protoreflect.FileDescriptor, c events.Commit, fn func(root, m protoreflect.Message)) {
	root := toSchema(t, reflect.ValueOf(c), file.Messages().ByName("Commit"))
	if _, err := decodeDynamic(t, root); err != nil {
		t.Fatal(err)
	}
	var walk func(m protoreflect.Message)
	walk = func(m protoreflect.Message) {
		fn(root, m)
		var inner []protoreflect.Message
		m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			switch {
			case f.Kind() != protoreflect.MessageKind:
			case f.IsList():
				for i := range v.List().Len() {
					inner = append(inner, v.List().Get(i).Message())
				}
			default:
				inner = append(inner, v.Message())
			}
			return true
		})
		for _, m := range inner {
			walk(m)
		}
	}
	walk(root)
}

func decodeDynamic(t testing.TB, m protoreflect.Message) (*events.Commit, error) {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m.Interface())
	if err != nil {
		t.Fatal(err)
	}
	return events.DecodeCommit(b)
}
