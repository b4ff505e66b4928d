// Package secret keeps the secrets of apps, set by their team, and those of environments, set by the Center
// of Excellence: encrypted with a key outside of the database, resolved only when something is started, and
// never shown again. A secret of an environment is one of no app: its app is "".
//
// The key is one file that the first start makes, or any keeper that gocloud.dev/secrets opens by URL.
// What is encrypted names its place too, so that a row copied to another app or name cannot be read
// there.
//
// Deliberately absent: earlier values, and a way to read a value over HTTP. Whoever lost a secret sets
// a new one.
package secret

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gocloud.dev/secrets"
	"gocloud.dev/secrets/localsecrets"

	"flywheel.dev/flywheel/internal/fault"
)

// Secret is what may be known about a secret: everything but its value.
type Secret struct {
	Name      string    `json:"name" example:"PAYMENT_KEY"`
	Version   int64     `json:"version" doc:"Counts how often it was set"`
	UpdatedAt time.Time `json:"updatedAt"`
	UpdatedBy string    `json:"updatedBy" doc:"Name of who set it last"`
}

// OpenKeeper opens what encrypts: a keeper by its URL (base64key://…), or the key file at a path,
// which is made if it is not there.
func OpenKeeper(ctx context.Context, where string) (*secrets.Keeper, error) {
	if strings.Contains(where, "://") {
		keeper, err := secrets.OpenKeeper(ctx, where)
		if err != nil {
			// The URL may hold the key itself: neither it nor the library's words about it are shown.
			return nil, fault.New(fault.Invalid, "secret.keeper", "The keeper of secrets cannot be opened by its URL.").
				Do("Check its scheme and its credentials in the configuration.")
		}
		return keeper, nil
	}
	text, err := os.ReadFile(where)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = makeKey(where)
	}
	if err != nil {
		return nil, fault.New(fault.Unavailable, "secret.key", "The key file %s cannot be read.", where).
			Do("Restore it from its backup, and let the user that runs Flywheel read it.").Because(err)
	}
	if info, err := os.Stat(where); err == nil && info.Mode().Perm()&0o077 != 0 {
		return nil, fault.New(fault.Invalid, "secret.key_open", "Other users of this machine can read the key file %s.", where).
			Do("Run chmod 600 %s, and set the secrets anew if somebody may have read it.", where)
	}
	key, err := localsecrets.Base64Key(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, fault.New(fault.Invalid, "secret.key_damaged", "The key file %s does not hold a key.", where).
			Do("Restore it from its backup.")
	}
	return localsecrets.NewKeeper(key), nil
}

// makeKey writes a new key and returns its text. When two processes start at once, the one that links
// its file first has made the key, and the other takes it.
func makeKey(path string) ([]byte, error) {
	folder := filepath.Dir(path)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	key := make([]byte, 32)
	rand.Read(key) // never fails
	file, err := os.CreateTemp(folder, ".key-*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(file.Name())
	_, err = file.WriteString(base64.URLEncoding.EncodeToString(key) + "\n")
	if err = errors.Join(err, file.Chmod(0o600), file.Sync(), file.Close()); err != nil {
		return nil, err
	}
	if err := os.Link(file.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if d, err := os.Open(folder); err == nil { // the name must survive a power cut too
		d.Sync()
		d.Close()
	}
	return os.ReadFile(path)
}
