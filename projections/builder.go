package projections

import (
	"errors"

	"github.com/postern-im/postern/events"
)

// A Builder folds many commits into one View, for a rebuild: by the rules and
// with the errors of View.Apply, since it is the same code, but changing in
// place what it made itself. One goroutine owns it.
type Builder struct {
	by   *owner
	view *View // nil once spent
	err  error // what ended it
}

// errSpent is what a Builder answers that has given its View away.
var errSpent = errors.New("the builder is spent")

// NewBuilder begins at the empty log.
func NewBuilder() *Builder { return BuilderFrom(New()) }

// BuilderFrom continues from a View, which does not change.
func BuilderFrom(v *View) *Builder {
	next := *v
	return &Builder{by: new(owner), view: &next}
}

// Apply folds the next commit, as View.Apply does. After an error nothing can
// be made of the Builder: every further call gives the same error.
func (b *Builder) Apply(c *events.Commit) error {
	if b.view == nil {
		return b.err
	}
	if err := b.view.fold(b.by, c); err != nil {
		b.view, b.err = nil, err
		return err
	}
	return nil
}

// View returns what was built, and the Builder is spent. It is nil after an
// error, and when it was taken before.
func (b *Builder) View() *View {
	v := b.view
	if v != nil {
		v.trim(b.by)
		b.view, b.by, b.err = nil, nil, errSpent
	}
	return v
}
