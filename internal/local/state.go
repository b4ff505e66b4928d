package local

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gocloud.dev/secrets"
	"gocloud.dev/secrets/localsecrets"
	"golang.org/x/sys/unix"

	"flywheel.dev/flywheel/internal/fault"
)

// store keeps the agent's records: one JSON file each, replaced as a whole and synced, so that a record
// is either the old or the new one after any crash.
//
//	state/services/<id>.json   a service as it runs
//	state/volumes/<id>.json
//	state/instances/<id>.json  the sealed secrets of an app's instance, its highest fence and the last cancelled one
//	secret.key                 what the secrets are sealed with
type store struct {
	dir    string
	keeper *secrets.Keeper
}

// serviceRecord is a service as it runs.
type serviceRecord struct {
	Service Service   `json:"service"`
	Port    int       `json:"port"` // the stable address, also when the service lets the agent choose
	Updated time.Time `json:"updated"`
}

// instanceRecord is what the agent knows of an app's instance.
type instanceRecord struct {
	Instance  string            `json:"instance"`
	Fence     int64             `json:"fence"`
	Cancelled int64             `json:"cancelled,omitempty"` // a fence whose deployment was cancelled, as were those before
	Secrets   map[string]string `json:"secrets"`             // name → sealed value
}

func openStore(dir string) (*store, error) {
	for _, kind := range []string{"services", "volumes", "instances"} {
		if err := os.MkdirAll(filepath.Join(dir, "state", kind), 0o700); err != nil {
			return nil, full(err)
		}
	}
	name := filepath.Join(dir, "secret.key")
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		key := make([]byte, 32)
		rand.Read(key)
		text = []byte(base64.URLEncoding.EncodeToString(key))
		err = writeFile(name, text)
	}
	if err != nil {
		return nil, full(err)
	}
	key, err := localsecrets.Base64Key(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, fmt.Errorf("the agent's key %s cannot be read: %w", name, err)
	}
	return &store{dir: dir, keeper: localsecrets.NewKeeper(key)}, nil
}

// save replaces the record kind/id.
func (s *store) save(kind, id string, record any) error {
	text, err := json.MarshalIndent(record, "", "  ")
	if err != nil {
		return err
	}
	return full(writeFile(s.file(kind, id), append(text, '\n')))
}

func (s *store) load(kind, id string, record any) error {
	text, err := os.ReadFile(s.file(kind, id))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, record); err != nil {
		return fmt.Errorf("the agent's record %s cannot be read: %w", s.file(kind, id), err)
	}
	return nil
}

// remove forgets the record; it is fine if there is none.
func (s *store) remove(kind, id string) error {
	if err := os.Remove(s.file(kind, id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncFolder(filepath.Join(s.dir, "state", kind))
}

// ids lists the records of a kind.
func (s *store) ids(kind string) ([]string, error) {
	names, err := filepath.Glob(filepath.Join(s.dir, "state", kind, "*.json"))
	for i := range names {
		names[i] = strings.TrimSuffix(filepath.Base(names[i]), ".json")
	}
	return names, err
}

func (s *store) file(kind, id string) string {
	return filepath.Join(s.dir, "state", kind, id+".json")
}

// instance returns what is known of an instance, which may be nothing.
func (s *store) instance(id string) (instanceRecord, error) {
	record := instanceRecord{Instance: id}
	err := s.load("instances", id, &record)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return record, err
}

func (s *store) seal(ctx context.Context, value string) (string, error) {
	sealed, err := s.keeper.Encrypt(ctx, []byte(value))
	return base64.URLEncoding.EncodeToString(sealed), err
}

func (s *store) open(ctx context.Context, sealed string) (string, error) {
	bytes, err := base64.URLEncoding.DecodeString(sealed)
	if err != nil {
		return "", err
	}
	value, err := s.keeper.Decrypt(ctx, bytes)
	return string(value), err
}

// writeFile replaces name so that it holds either the old bytes or the new, also after a loss of power.
func writeFile(name string, bytes []byte) error {
	file, err := os.CreateTemp(filepath.Dir(name), ".new-")
	if err != nil {
		return err
	}
	_, err = file.Write(bytes)
	err = cmp.Or(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), name)
	}
	if err != nil {
		os.Remove(file.Name())
		return err
	}
	return syncFolder(filepath.Dir(name))
}

func syncFolder(dir string) error {
	file, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer file.Close()
	return file.Sync()
}

func isFull(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

// full puts a full disk into words and returns every other error as it is.
func full(err error) error {
	if !isFull(err) {
		return err
	}
	return fault.New(fault.Unavailable, "agent.disk_full", "The disk under the agent's folder is full.").
		Do("Free some space and try again.").Because(err)
}
