package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"

	"flywheel.dev/flywheel/internal/fault"
)

// defaultURL is where `flywheel serve` listens on a laptop.
const defaultURL = "http://127.0.0.1:7270"

// login is where a person is signed in, as kept in the configuration folder.
type login struct {
	URL     string `yaml:"url"`
	Name    string `yaml:"name,omitempty"`
	Token   string `yaml:"token"`
	TokenID string `yaml:"token_id,omitempty"`
}

func loginFile() (string, error) {
	dir := os.Getenv("XDG_CONFIG_HOME")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(home, ".config")
	}
	return filepath.Join(dir, "flywheel", "config.yaml"), nil
}

// readLogin returns the stored login, or the zero login when nobody is signed in.
func readLogin() (l login, err error) {
	file, err := loginFile()
	if err != nil {
		return l, err
	}
	content, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return l, err
	}
	if err := yaml.Unmarshal(content, &l); err != nil {
		return l, fault.New(fault.Invalid, "cli.config", "%s cannot be read.", file).Do("Delete it and sign in again: flywheel login.").Because(err)
	}
	return l, nil
}

// write keeps the login where only its person can read it.
func (l login) write() error {
	file, err := loginFile()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	content, err := yaml.Marshal(l)
	if err != nil {
		return err
	}
	// A new file and a rename: an existing file would keep its wider permissions, and a crash in the
	// middle would leave half a token.
	next, err := os.CreateTemp(filepath.Dir(file), "config-")
	if err != nil {
		return err
	}
	defer os.Remove(next.Name())
	_, err = next.Write(content)
	if err := errors.Join(err, next.Close()); err != nil {
		return err
	}
	return os.Rename(next.Name(), file)
}

func forgetLogin() error {
	file, err := loginFile()
	if err != nil {
		return err
	}
	if err := os.Remove(file); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// server returns the address to talk to and the token for it: flags, then environment, then the stored
// login. A stored token goes only to the server that gave it.
func (s *shell) server() (url, token string, err error) {
	stored, err := readLogin()
	if err != nil {
		return "", "", err
	}
	url, token = first(s.url, os.Getenv("FLYWHEEL_URL"), stored.URL, defaultURL), os.Getenv("FLYWHEEL_TOKEN")
	url = strings.TrimRight(url, "/")
	if token == "" && url == stored.URL {
		token = stored.Token
	}
	return url, token, nil
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
