package token

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPatterns(t *testing.T) {
	tests := []struct {
		pattern, s string
		want       bool
	}{
		{"joe", "joe", true}, {"joe", "Joe", false}, {"joe", "joey", false}, {"*", "", true}, {"*", "joe", true}, {"j*", "joe", true}, {"*e", "joe", true},
		{"j*e", "joe", true}, {"j*e", "je", true}, {"jo*oe", "joe", false}, {"*o*", "joe", true}, {"a*b*c", "aXbYc", true}, {"a*b*c", "acb", false},
		{"*ab", "aab", true}, {"a**b", "ab", true}, {"j?e", "joe", false}, {"j[o]e", "j[o]e", true}, {"", "", true}, {"", "x", false},
	}
	for _, tt := range tests {
		if got := match(tt.pattern, tt.s); got != tt.want {
			t.Errorf("%q matches %q: %t", tt.pattern, tt.s, got)
		}
	}
}

func TestTokensAreKeptAsHashesAndFoundByThemselves(t *testing.T) {
	path := filepath.Join(t.TempDir(), "web", "tokens.json")
	f := Open(path)
	made, err := f.Add(Token{Name: "ann", Role: Auditor, Filter: Filter{User: []string{"joe"}}}, false)
	if err != nil || !strings.HasPrefix(made, Prefix) {
		t.Fatalf("made %q, %v", made, err)
	}
	data, err := os.ReadFile(path)
	if err != nil || strings.Contains(string(data), made) {
		t.Errorf("the file has the token in it, or %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("file is %v, %v", info.Mode(), err)
	}
	other := Open(path) // another process
	if got, err := other.Find(made); err != nil || got.Name != "ann" || !got.May("joe", "") || got.May("eve", "") {
		t.Errorf("found %+v, %v", got, err)
	}
	if _, err := f.Add(Token{Name: "ann", Role: Admin}, false); !errors.Is(err, ErrExists) {
		t.Errorf("a second one: %v", err)
	}
	again, err := f.Add(Token{Name: "ann", Role: Admin}, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Find(made); !errors.Is(err, ErrUnknown) {
		t.Errorf("the one that was replaced: %v", err)
	}
	if err := other.Remove("ann"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Find(again); !errors.Is(err, ErrUnknown) {
		t.Errorf("the one that was taken away: %v", err)
	}
	if err := f.Remove("ann"); !errors.Is(err, ErrUnknown) {
		t.Errorf("taken away again: %v", err)
	}
}

func TestWhatATokenCannotBe(t *testing.T) {
	f := Open(filepath.Join(t.TempDir(), "tokens.json"))
	for _, tt := range []struct {
		token Token
		says  string
	}{
		{Token{Role: Admin}, "name"},
		{Token{Name: "a b", Role: Admin}, "not a valid name"},
		{Token{Name: "x", Role: "root"}, `role "root"`},
		{Token{Name: "x", Role: Admin, Filter: Filter{Host: []string{"*"}}}, "an admin sees everything"},
		{Token{Name: "x", Role: Auditor, Filter: Filter{Host: []string{""}}}, "pattern for the host"},
		{Token{Name: "x", Role: Auditor, Filter: Filter{User: make([]string, 51)}}, "51 patterns"},
	} {
		if _, err := f.Add(tt.token, false); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%+v: %v", tt.token, err)
		}
	}
}

func TestFilesThatCannotBeUsedSayWhatToDo(t *testing.T) {
	for _, tt := range []struct {
		name, content, says string
		mode                os.FileMode
	}{
		{"readable by others", `{"v":1}`, "chmod 600", 0o640},
		{"broken", `{`, "restore it", 0o600},
		{"newer", `{"v":2}`, "version 2", 0o600},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "tokens.json")
			if err := os.WriteFile(path, []byte(tt.content), tt.mode); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(path).Find("x"); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error is %v", err)
			}
		})
	}
}
