package main

type helpCmd struct {
	Command []string `arg:"" optional:"" help:"The command, such as tenant create."`
}

// Help is the command's help.
func (*helpCmd) Help() string {
	return `It prints the same text as COMMAND --help.

Example:

    policyctl help tenant create`
}

// Run shows another command's help.
func (c *helpCmd) Run(a *app) error { return a.parse(append(c.Command, "--help")) }
