package main

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

// Each limit is described in --help, in the README's table and in the manual, with
// its default value.
func TestLimitsAreTold(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	manual, err := os.ReadFile("../../docs/man/gateway.8")
	if err != nil {
		t.Fatal(err)
	}
	help := description()
	limits := reflect.ValueOf(defaults().Limits)
	for i := range limits.NumField() {
		name := limits.Type().Field(i).Tag.Get("toml")
		value := fmt.Sprint(limits.Field(i).Interface())
		if limits.Field(i).Kind() == reflect.Int64 {
			value = "30s"
		}
		if limitWords[name] == "" || !strings.Contains(help, fmt.Sprintf("\n  %s = %s: %s", name, value, limitWords[name])) {
			t.Errorf("--help does not describe %s = %s", name, value)
		}
		if !strings.Contains(string(readme), fmt.Sprintf("| `%s` | %s |", name, value)) {
			t.Errorf("README.md does not describe %s = %s", name, value)
		}
		if !strings.Contains(string(manual), fmt.Sprintf(".B %s\n(%s)", name, value)) {
			t.Errorf("the manual does not describe %s = %s", name, value)
		}
	}
	if len(limitWords) != limits.NumField() {
		t.Errorf("%d limits are described, and there are %d", len(limitWords), limits.NumField())
	}
}
