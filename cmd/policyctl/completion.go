package main

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/permission"
)

const (
	// completeWord is the first argument when a shell's completion script
	// calls policyctl. It is not a command for users.
	completeWord = "__complete"
	// completeTimeout bounds the requests to the node, because a user waits
	// after pressing Tab. On timeout, names are silently not completed.
	completeTimeout = 500 * time.Millisecond
	// maxCandidates bounds the candidates that are offered.
	maxCandidates = 200
)

var (
	//go:embed completion/policyctl.bash
	completionBash string
	//go:embed completion/policyctl.zsh
	completionZsh string
	//go:embed completion/policyctl.fish
	completionFish string
)

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"The shell: bash, zsh or fish."`
}

// Help is the command's help.
func (*completionCmd) Help() string {
	return `With this script the Tab key completes commands, flags and file names. If the node answers within half a second, it also completes the names of tenants, domains, roles, members and gateways.

Examples:

    policyctl completion bash > /etc/bash_completion.d/policyctl
    policyctl completion zsh > /usr/local/share/zsh/site-functions/_policyctl
    policyctl completion fish > ~/.config/fish/completions/policyctl.fish`
}

// Run prints the script.
func (c *completionCmd) Run(a *app) error {
	script := map[string]string{"bash": completionBash, "zsh": completionZsh, "fish": completionFish}[c.Shell]
	return a.print(map[string]string{"shell": c.Shell, "script": script}, func(w io.Writer) { fmt.Fprint(w, script) })
}

// A completer finds the candidates for the last word of a command line.
type completer struct {
	node  *kong.Node        // the command so far
	place int               // the number of its arguments so far
	given map[string]string // flags with their values
	args  []string
	value *kong.Value // of the flag before the cursor
}

// complete writes one candidate a line. If the candidate has a description, a tab
// and the description follow. The line ":files" tells the script to complete file
// names as well. The last of words is the word that the user is typing.
func complete(ctx context.Context, model *kong.Application, words []string, out io.Writer) {
	if len(words) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, completeTimeout)
	defer cancel()
	c := &completer{node: model.Node, given: map[string]string{}}
	typed := words[len(words)-1]
	for _, word := range words[:len(words)-1] {
		c.read(word)
	}
	n := 0
	for _, line := range c.candidates(ctx, typed) {
		name, _, _ := strings.Cut(line, "\t")
		if n == maxCandidates || line != ":files" && (!strings.HasPrefix(name, typed) || !isShellSafe(name)) {
			continue
		}
		fmt.Fprintln(out, line)
		n++
	}
}

// isShellSafe reports whether no shell gives a meaning to a character of word.
// Other words are not offered: another user may have chosen the name.
func isShellSafe(word string) bool {
	return !strings.ContainsFunc(word, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(":._-@/+=,", r)
	})
}

func (c *completer) read(word string) {
	switch {
	case c.value != nil:
		c.given[c.value.Name], c.value = word, nil
	case strings.HasPrefix(word, "-") && len(word) > 1:
		name, value, given := strings.Cut(word, "=")
		f := c.flag(name)
		switch {
		case f == nil:
		case given:
			c.given[f.Name] = value
		case !f.IsBool():
			c.value = f.Value
		}
	default:
		if next := c.child(word); next != nil {
			c.node = next
			return
		}
		c.place++
		c.args = append(c.args, word)
	}
}

func (c *completer) child(name string) *kong.Node {
	for _, n := range c.node.Children {
		if n.Type == kong.CommandNode && (n.Name == name || slices.Contains(n.Aliases, name)) {
			return n
		}
	}
	return nil
}

// flag finds --name, or -x by its letter.
func (c *completer) flag(name string) *kong.Flag {
	for _, group := range c.node.AllFlags(true) {
		for _, f := range group {
			if name == "--"+f.Name || f.Short != 0 && name == "-"+string(f.Short) {
				return f
			}
		}
	}
	return nil
}

func (c *completer) candidates(ctx context.Context, typed string) (list []string) {
	switch {
	case c.value != nil:
		return c.items(ctx, c.value, typed)
	case strings.HasPrefix(typed, "--") && strings.Contains(typed, "="):
		name, value, _ := strings.Cut(typed, "=")
		if f := c.flag(name); f != nil {
			for _, v := range c.items(ctx, f.Value, value) {
				list = append(list, name+"="+v)
			}
		}
		return list
	case strings.HasPrefix(typed, "-"):
		for _, group := range c.node.AllFlags(true) {
			for _, f := range group {
				list = append(list, "--"+f.Name+"\t"+f.Help)
			}
		}
		return list
	}
	for _, n := range c.node.Children {
		if n.Type == kong.CommandNode && !n.Hidden {
			list = append(list, n.Name+"\t"+n.Help)
		}
	}
	if args := c.node.Positional; len(args) > 0 {
		if i := min(c.place, len(args)-1); i == c.place || args[i].IsCumulative() {
			list = append(list, c.values(ctx, args[i])...)
		}
	}
	return list
}

// items returns the candidates for the value of a flag. If the flag takes a
// list, the text up to the last comma is kept before each candidate, and values
// that are in the list already are left out.
func (c *completer) items(ctx context.Context, v *kong.Value, typed string) []string {
	values := c.values(ctx, v)
	at := strings.LastIndexByte(typed, ',')
	if at < 0 || !v.IsSlice() || v.Tag.Sep != ',' {
		return values
	}
	given := strings.Split(typed[:at], ",")
	var list []string
	for _, value := range values {
		if !slices.Contains(given, value) && value != ":files" {
			list = append(list, typed[:at+1]+value)
		}
	}
	return list
}

// values returns the possible values of a flag or argument. The kind of value
// (tenant, domain, role, member, gateway, permission or file) follows from its name, or
// from a tag such as complete:"tenant".
func (c *completer) values(ctx context.Context, v *kong.Value) []string {
	if v.Enum != "" {
		return v.EnumSlice()
	}
	kind := v.Tag.Get("complete")
	if kind == "" {
		kind = map[string]string{
			"tenant": "tenant", "domain": "domain", "role": "role", "jid": "member", "account": "member",
			"default-role": "role", "inherits": "role", "secondary": "role", "permission": "permission",
			"allow": "permission", "deny": "permission", "add": "permission", "remove": "permission",
			"path": "file", "file": "file",
		}[v.Name]
	}
	if kind == "" && v.Name == "id" && strings.HasPrefix(c.node.FullPath(), "policyctl tenant ") {
		kind = "tenant"
	}
	if p := v.Tag.PlaceHolder; kind == "" && (p == "FILE" || p == "DIR" || p == "PATH") {
		kind = "file"
	}
	switch kind {
	case "":
		return nil
	case "file":
		return []string{":files"}
	case "permission":
		var names []string
		for p := range permission.All() {
			names = append(names, p.Name())
		}
		return names
	}
	return c.ask(ctx, kind)
}

// ask asks the node for names. If the node fails, there are none.
func (c *completer) ask(ctx context.Context, kind string) (names []string) {
	client := api.NewClient(c.setting("socket", "POSTERN_SOCKET", api.DefaultSocket))
	defer client.Close()
	if kind == "gateway" {
		list, _ := client.Gateways(ctx, false)
		for _, g := range list.Gateways {
			names = append(names, g.ID)
		}
		return names
	}
	tenants := []string{c.setting("tenant", "POSTERN_TENANT", "")}
	if tenants[0] == "" || kind == "tenant" {
		tenants = nil
		list, _ := client.Tenants(ctx, "", maxCandidates)
		for _, t := range list.Tenants {
			tenants = append(tenants, t.ID)
		}
	}
	if kind == "tenant" {
		return tenants
	}
	for _, tenant := range tenants {
		if ctx.Err() != nil || len(names) > maxCandidates {
			break
		}
		switch kind {
		case "domain":
			list, _ := client.Domains(ctx, tenant)
			for _, d := range list.Domains {
				names = append(names, d.Domain)
			}
		case "role":
			list, _ := client.Roles(ctx, tenant)
			for _, r := range list.Roles {
				names = append(names, r.Role)
			}
		case "member":
			list, _ := client.Members(ctx, tenant, "", maxCandidates)
			for _, m := range list.Members {
				names = append(names, m.JID)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (c *completer) setting(flag, env, otherwise string) string {
	if v := c.given[flag]; v != "" {
		return v
	}
	if v := os.Getenv(env); v != "" {
		return v
	}
	return otherwise
}
