package prosody

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	lua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/ast"
	"github.com/yuin/gopher-lua/parse"
)

// The bounds of one evaluation. A large configuration needs a few thousand
// steps.
const (
	maxSteps    = 1_000_000 // instructions of the Lua VM
	maxMemory   = 64 << 20  // bytes of strings and table space, in total
	maxString   = 1 << 20   // bytes of one string
	maxIndex    = 1 << 16   // the largest integer used as a table index
	maxNesting  = 200       // depth of nested expressions and blocks
	maxCalls    = 120       // depth of function calls
	maxRegistry = 1 << 14   // values on the VM's stack
)

var errSteps = errors.New("the configuration takes too long: more than a million steps; is there an endless loop?")

// A budget bounds the resources of an evaluation. The Lua VM asks its context
// before each instruction whether it is done. Therefore the budget is this
// context and counts the instructions. A spent budget stays spent, so a pcall
// that catches the error cannot continue the evaluation.
type budget struct {
	context.Context
	steps, memory int
	spent         error
	closed        chan struct{}
}

func newBudget(ctx context.Context) *budget {
	b := &budget{Context: ctx, steps: maxSteps, memory: maxMemory, closed: make(chan struct{})}
	close(b.closed)
	return b
}

// Done counts a step. It returns nil, which is never ready, until the budget is
// spent.
func (b *budget) Done() <-chan struct{} {
	b.steps--
	switch {
	case b.spent != nil:
	case b.steps < 0:
		b.spent = errSteps
	case b.steps%256 == 0:
		b.spent = b.Context.Err()
	}
	if b.spent != nil {
		return b.closed
	}
	return nil
}

func (b *budget) Err() error { return b.spent }

// charge takes n bytes from the budget. It ends the evaluation if none are
// left.
func (b *budget) charge(l *lua.LState, n int) {
	if b.memory -= n; b.memory < 0 {
		b.spent = fmt.Errorf("the configuration takes too much memory: more than %d MiB", maxMemory>>20)
		l.RaiseError("%v", b.spent)
	}
}

// text charges for a new string of n bytes and refuses one over maxString.
func (b *budget) text(l *lua.LState, n int) {
	if n > maxString {
		l.RaiseError("a string of %d bytes: at most %d", n, maxString)
	}
	b.charge(l, n)
}

// The names of functions that replace operations the VM does not bound. Lua
// source cannot contain these names.
const (
	concatName = "\x00concat"
	indexName  = "\x00index"
	equalName  = "\x00equal"
)

// concat replaces the operator "..".
func (b *budget) concat(l *lua.LState) int {
	x, y := l.Get(1), l.Get(2)
	for _, v := range []lua.LValue{x, y} {
		if v.Type() != lua.LTString && v.Type() != lua.LTNumber {
			l.RaiseError("attempt to concatenate a %s value", v.Type())
		}
	}
	s, t := x.String(), y.String()
	b.text(l, len(s)+len(t))
	l.Push(lua.LString(s + t))
	return 1
}

// equal compares a value with a text literal of the configuration. The
// substitute wild is equal to every text.
func equal(l *lua.LState) int {
	x, y := l.Get(1), l.Get(2)
	l.Push(lua.LBool(x == y || x == lua.LString(wild) || y == lua.LString(wild)))
	return 1
}

// index checks the key of an assignment to a table. The VM fills the array up
// to an integer key with nils, so large integers are refused and others are
// charged for.
func (b *budget) index(l *lua.LState) int {
	v := l.Get(1)
	if n, ok := v.(lua.LNumber); ok {
		switch {
		case math.IsNaN(float64(n)):
			l.RaiseError("table index is NaN")
		case n > maxIndex:
			l.RaiseError("table index %v: at most %d", n, maxIndex)
		case n > 1:
			b.charge(l, 16*int(n))
		}
	}
	l.Push(v)
	return 1
}

// A chunk is a compiled file.
type chunk struct {
	proto    *lua.FunctionProto
	compared []string // texts with which it compares values
	literals map[string]bool
}

// chunks caches compiled files by name and text, because a configuration with
// unknown inputs is evaluated many times.
type chunks map[[2]string]chunk

func (c chunks) compile(name string, source []byte) (known chunk, err error) {
	key := [2]string{name, string(source)}
	known, ok := c[key]
	if !ok {
		known, err = compile(name, source)
		if err == nil && c != nil {
			c[key] = known
		}
	}
	return known, err
}

// compile compiles a file into code that stays within a budget.
func compile(name string, source []byte) (c chunk, err error) {
	defer func() {
		if r := recover(); r != nil {
			c, err = chunk{}, fmt.Errorf("%s: cannot be read as Lua: %v", name, r)
		}
	}()
	source, err = portable(name, source)
	if err != nil {
		return c, err
	}
	parsed, err := parse.Parse(bytes.NewReader(source), name)
	if err != nil {
		if at, ok := errors.AsType[*parse.Error](err); ok {
			return c, fmt.Errorf("%s:%d: %s near %q", name, max(at.Pos.Line, 0), at.Message, at.Token)
		}
		return c, fmt.Errorf("%s: %w", name, err)
	}
	g := guard{name: name, literals: map[string]bool{}}
	g.stmts(parsed)
	if g.err != nil {
		return c, g.err
	}
	proto, err := lua.Compile(parsed, name)
	if err != nil {
		return c, fmt.Errorf("%s: %w", name, err)
	}
	return chunk{proto, g.compared, g.literals}, nil
}

// A guard rewrites a chunk: operations that the VM does not bound become calls
// of functions that do.
type guard struct {
	name     string
	depth    int
	err      error
	compared []string
	literals map[string]bool
}

func (g *guard) fail(n ast.PositionHolder, format string, args ...any) {
	if g.err == nil {
		g.err = fmt.Errorf("%s:%d: %s", g.name, n.Line(), fmt.Sprintf(format, args...))
	}
}

func (g *guard) enter(n ast.PositionHolder) bool {
	if g.depth++; g.depth > maxNesting {
		g.fail(n, "nested more than %d deep", maxNesting)
	}
	return g.err == nil
}

func (g *guard) stmts(list []ast.Stmt) {
	for _, s := range list {
		if g.enter(s) {
			g.stmt(s)
		}
		g.depth--
	}
}

func (g *guard) stmt(s ast.Stmt) {
	switch s := s.(type) {
	case *ast.AssignStmt:
		for _, e := range s.Lhs {
			g.target(e)
		}
		g.exprs(s.Rhs)
	case *ast.LocalAssignStmt:
		g.exprs(s.Exprs)
	case *ast.FuncCallStmt:
		s.Expr = g.expr(s.Expr)
	case *ast.DoBlockStmt:
		g.stmts(s.Stmts)
	case *ast.WhileStmt:
		s.Condition = g.expr(s.Condition)
		g.stmts(s.Stmts)
	case *ast.RepeatStmt:
		s.Condition = g.expr(s.Condition)
		g.stmts(s.Stmts)
	case *ast.IfStmt:
		s.Condition = g.expr(s.Condition)
		g.stmts(s.Then)
		g.stmts(s.Else)
	case *ast.NumberForStmt:
		s.Init, s.Limit = g.expr(s.Init), g.expr(s.Limit)
		if s.Step != nil {
			s.Step = g.expr(s.Step)
		}
		g.stmts(s.Stmts)
	case *ast.GenericForStmt:
		g.exprs(s.Exprs)
		g.stmts(s.Stmts)
	case *ast.FuncDefStmt:
		if s.Name.Func != nil {
			g.target(s.Name.Func)
		}
		if s.Name.Receiver != nil {
			s.Name.Receiver = g.expr(s.Name.Receiver)
		}
		g.expr(s.Func)
	case *ast.ReturnStmt:
		g.exprs(s.Exprs)
	case *ast.BreakStmt, *ast.LabelStmt, *ast.GotoStmt:
	default:
		g.fail(s, "unknown kind of statement")
	}
}

// target rewrites the target of an assignment.
func (g *guard) target(e ast.Expr) {
	a, ok := e.(*ast.AttrGetExpr)
	if !ok {
		return // a name
	}
	if g.enter(a) {
		a.Object, a.Key = g.expr(a.Object), g.key(a.Key)
	}
	g.depth--
}

// key rewrites the key under which a value is stored.
func (g *guard) key(e ast.Expr) ast.Expr {
	if _, ok := e.(*ast.StringExpr); ok {
		return e
	}
	return call(indexName, e, g.expr(e))
}

func (g *guard) exprs(list []ast.Expr) {
	for i := range list {
		list[i] = g.expr(list[i])
	}
}

func (g *guard) expr(e ast.Expr) ast.Expr {
	defer func() { g.depth-- }()
	if !g.enter(e) {
		return e
	}
	switch e := e.(type) {
	case *ast.TrueExpr, *ast.FalseExpr, *ast.NilExpr, *ast.NumberExpr, *ast.Comma3Expr, *ast.IdentExpr:
	case *ast.StringExpr:
		g.literals[e.Value] = true
	case *ast.AttrGetExpr:
		e.Object, e.Key = g.expr(e.Object), g.expr(e.Key)
	case *ast.TableExpr:
		for _, f := range e.Fields {
			if f.Key != nil {
				f.Key = g.key(f.Key)
			}
			f.Value = g.expr(f.Value)
		}
	case *ast.FuncCallExpr:
		if e.Func != nil {
			e.Func = g.expr(e.Func)
		}
		if e.Receiver != nil {
			e.Receiver = g.expr(e.Receiver)
		}
		g.exprs(e.Args)
	case *ast.LogicalOpExpr:
		e.Lhs, e.Rhs = g.expr(e.Lhs), g.expr(e.Rhs)
	case *ast.RelationalOpExpr:
		withText := false
		for _, side := range []ast.Expr{e.Lhs, e.Rhs} {
			if text, ok := side.(*ast.StringExpr); ok {
				g.compared = append(g.compared, text.Value)
				withText = true
			}
		}
		e.Lhs, e.Rhs = g.expr(e.Lhs), g.expr(e.Rhs)
		switch {
		case withText && e.Operator == "==":
			return call(equalName, e, e.Lhs, e.Rhs)
		case withText && e.Operator == "~=":
			not := &ast.UnaryNotOpExpr{Expr: call(equalName, e, e.Lhs, e.Rhs)}
			not.SetLine(e.Line())
			not.SetLastLine(e.LastLine())
			return not
		}
	case *ast.StringConcatOpExpr:
		g.whole(e.Lhs)
		g.whole(e.Rhs)
		return call(concatName, e, g.expr(e.Lhs), g.expr(e.Rhs))
	case *ast.ArithmeticOpExpr:
		e.Lhs, e.Rhs = g.expr(e.Lhs), g.expr(e.Rhs)
	case *ast.UnaryMinusOpExpr:
		e.Expr = g.expr(e.Expr)
	case *ast.UnaryNotOpExpr:
		e.Expr = g.expr(e.Expr)
	case *ast.UnaryLenOpExpr:
		e.Expr = g.expr(e.Expr)
	case *ast.FunctionExpr:
		if e.ParList.HasVargs {
			g.fail(e, "a function with \"...\" is not supported in an imported configuration")
		}
		g.stmts(e.Stmts)
	default:
		g.fail(e, "unknown kind of expression")
	}
	return e
}

// whole refuses the concatenation of a number that this VM may write differently
// from Lua 5.4, which adds ".0": the result of a division or power, or a literal
// such as 1.0.
func (g *guard) whole(e ast.Expr) {
	switch e := e.(type) {
	case *ast.ArithmeticOpExpr:
		if e.Operator == "/" || e.Operator == "^" {
			g.fail(e, "the result of %s is concatenated with a text; Lua 5.4 writes it with a decimal point: write the text out", e.Operator)
		}
	case *ast.NumberExpr:
		if strings.ContainsAny(e.Value, ".eEpP") && !strings.HasPrefix(e.Value, "0x") {
			g.fail(e, "the number %s is concatenated with a text; Lua 5.4 writes it with a decimal point: write the text out", e.Value)
		}
	}
}

func call(name string, at ast.PositionHolder, args ...ast.Expr) ast.Expr {
	f := &ast.IdentExpr{Value: name}
	c := &ast.FuncCallExpr{Func: f, Args: args, AdjustRet: true}
	for _, n := range []ast.PositionHolder{f, c} {
		n.SetLine(at.Line())
		n.SetLastLine(at.LastLine())
	}
	return c
}
