package server

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/git"
)

// A backup is a tar.gz: the database first, then repositories as bundles, then artifacts. In this order
// everything the database names is in the backup, because blobs and commits are written before the rows
// that name them. What was merged between the two is on main and not in the database: a restore takes it off
// main, where it is a branch again and merged anew. Keys are told apart (keys.tar beside it), so that a stolen backup opens no secret.

func backupCommand() *cobra.Command {
	var o Options
	c := &cobra.Command{
		Use:   "backup FILE",
		Short: "Copy the database, repositories and artifacts while Flywheel runs",
		Long: `Write a backup to FILE, and the keys to FILE.keys: keep the two apart, because together they open
every secret. It works while Flywheel runs.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := configure(c, c.LocalNonPersistentFlags()); err != nil {
				return err
			}
			KeepPrivate()
			if err := backup(c.Context(), o, args[0]); err != nil {
				return err
			}
			fmt.Fprintf(c.ErrOrStderr(), "Backup written to %s, keys to %s.keys: keep them apart.\n", args[0], args[0])
			return nil
		},
	}
	c.Flags().StringVar(&o.Data, "data", defaultData(), "data folder of the running Flywheel")
	c.Flags().StringVar(&o.DatabaseURL, "database-url", "", "its database (default: SQLite in the data folder)")
	placeFlags(c, &o)
	return c
}

func restoreCommand() *cobra.Command {
	var o Options
	var keys string
	c := &cobra.Command{
		Use:   "restore FILE",
		Short: "Restore a backup into an empty data folder",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := configure(c, c.LocalNonPersistentFlags()); err != nil {
				return err
			}
			if keys == "" {
				keys = args[0] + ".keys"
			}
			KeepPrivate()
			taken, err := restore(c.Context(), o, args[0], keys)
			if err != nil {
				return err
			}
			for _, one := range taken {
				fmt.Fprintf(c.ErrOrStderr(), "%s was merged into %s after the database was copied: it is off main, a branch again, and merged anew when Flywheel runs.\n", one.change, one.repo)
			}
			fmt.Fprintf(c.ErrOrStderr(), "Restored into %s. What was deployed after the backup is not known there: deploy it anew.\n", o.Data)
			return nil
		},
	}
	c.Flags().StringVar(&o.Data, "data", defaultData(), "empty data folder to restore into")
	c.Flags().StringVar(&o.DatabaseURL, "database-url", "", "empty PostgreSQL database (default: SQLite in the data folder)")
	c.Flags().StringVar(&keys, "keys", "", "the file with the keys (default: FILE.keys)")
	placeFlags(c, &o)
	return c
}

// placeFlags are where the keys are, if not in the data folder. A server that was told so elsewhere must not
// get a backup without them.
func placeFlags(c *cobra.Command, o *Options) {
	c.Flags().StringVar(&o.Key, "key", "", "key file, or URL of the keeper of secrets (default: keys/secret.key in the data folder)")
	c.Flags().StringVar(&o.Agent, "agent", "", "folder of the local agent (default: agent in the data folder)")
	c.Flags().String("config", "", "configuration file of the server, in YAML")
}

func backup(ctx context.Context, o Options, file string) (err error) {
	o, err = withDefaults(o)
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(o.Data, "repos")); err != nil {
		return fault.New(fault.Invalid, "backup.no_data", "%s is not a data folder of Flywheel.", o.Data).Do("Say --data.")
	}
	work, err := os.MkdirTemp(o.Data, ".backup-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	part := file + ".part"
	out, err := newPrivate(part)
	if err != nil {
		return err
	}
	defer os.Remove(part) // it is gone under this name once the backup is whole
	defer out.Close()
	zip := gzip.NewWriter(out)
	archive := tar.NewWriter(zip)

	dump := filepath.Join(work, "database")
	if err := dumpDatabase(ctx, o, dump); err != nil {
		return err
	}
	if err := addFile(archive, dump, "database"); err != nil {
		return err
	}
	host := &git.Host{Root: filepath.Join(o.Data, "repos")}
	repos, err := host.List()
	if err != nil {
		return err
	}
	for _, r := range repos {
		bundle := filepath.Join(work, "bundle")
		if err := host.Bundle(ctx, r, bundle); err != nil {
			return err
		}
		if err := addFile(archive, bundle, "repos/"+r.String()+".bundle"); err != nil {
			return err
		}
	}
	if err := addFolder(archive, filepath.Join(o.Data, "blobs"), "blobs"); err != nil {
		return err
	}
	if err := errors.Join(archive.Close(), zip.Close(), out.Sync()); err != nil {
		return err
	}
	if err := backupKeys(o, file+".keys"); err != nil {
		return err
	}
	return os.Rename(part, file)
}

// The names of the keys in their archive.
const (
	serverKey = "keys/secret.key"
	agentKey  = "agent/secret.key"
)

// backupKeys writes the key of secrets and states, if it is a file, and the agent's. A key behind a URL is
// where its keeper has it.
func backupKeys(o Options, file string) error {
	out, err := newPrivate(file)
	if err != nil {
		return err
	}
	defer out.Close()
	archive := tar.NewWriter(out)
	if !strings.Contains(o.Key, "://") {
		if err := addFile(archive, o.Key, serverKey); err != nil {
			return fault.New(fault.Invalid, "backup.no_key", "The key file %s cannot be read; without it no secret and no state of the backup can be opened.", o.Key).
				Do("Say --key as the server was told.").Because(err)
		}
	}
	if err := addFile(archive, filepath.Join(o.Agent, "secret.key"), agentKey); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return errors.Join(archive.Close(), out.Sync())
}

// restoreKeys puts the keys where the server will look for them.
func restoreKeys(o Options, r io.Reader) error {
	if err := unpackBackup(o.Data, r); err != nil {
		if fault.Is(err, "restore.damaged") {
			return fault.New(fault.Invalid, "restore.no_keys", "What --keys names is damaged, or not the keys of a backup.").Do("Name the file that `flywheel backup` wrote beside it.").Because(err)
		}
		return err
	}
	for name, place := range map[string]string{serverKey: o.Key, agentKey: filepath.Join(o.Agent, "secret.key")} {
		from := filepath.Join(o.Data, name)
		key, err := os.ReadFile(from)
		if errors.Is(err, fs.ErrNotExist) || place == from || strings.Contains(place, "://") {
			continue
		}
		if err == nil {
			err = os.MkdirAll(filepath.Dir(place), 0o700)
		}
		if err == nil {
			err = writeNew(place, key)
		}
		if errors.Is(err, fs.ErrExist) {
			return fault.New(fault.Conflict, "restore.key_there", "%s is there already.", place).Do("Move it away if it is not the key of this backup; nothing is overwritten.")
		}
		if err = errors.Join(err, os.RemoveAll(filepath.Dir(from))); err != nil {
			return err
		}
	}
	return nil
}

// newPrivate opens an empty file that only its owner may read, also where there was one that others could.
func newPrivate(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.Chmod(0o600), f.Truncate(0)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// writeNew writes a file that only its owner may read and that must not be there yet.
func writeNew(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}

// dumpDatabase writes a consistent copy: SQLite by `vacuum into`, PostgreSQL by pg_dump.
func dumpDatabase(ctx context.Context, o Options, file string) error {
	if postgres(o.DatabaseURL) {
		cmd := exec.CommandContext(ctx, "pg_dump", "--format=custom", "--no-owner", "--file="+file, "--dbname="+o.DatabaseURL)
		if said, err := cmd.CombinedOutput(); err != nil {
			return fault.New(fault.Unavailable, "backup.pg_dump", "pg_dump failed: %s", strings.TrimSpace(string(said))).Do("Install the PostgreSQL client of the server's version.").Because(err)
		}
		return nil
	}
	d, err := db.Open(ctx, o.DatabaseURL)
	if err != nil {
		return err
	}
	defer d.Close()
	_, err = d.SQL.ExecContext(ctx, "vacuum into ?", file)
	return err
}

func postgres(url string) bool {
	return strings.HasPrefix(url, "postgres://") || strings.HasPrefix(url, "postgresql://")
}

func addFile(archive *tar.Writer, file, name string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := archive.WriteHeader(&tar.Header{Name: name, Size: info.Size(), Mode: int64(info.Mode().Perm()), ModTime: info.ModTime()}); err != nil {
		return err
	}
	_, err = io.CopyN(archive, f, info.Size())
	return err
}

func addFolder(archive *tar.Writer, dir, name string) error {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		return addFile(archive, path, name+"/"+filepath.ToSlash(rel))
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// takenBack is a change that a restore took off the main of a repository.
type takenBack struct {
	repo   git.Repo
	change string
}

func restore(ctx context.Context, o Options, file, keys string) (taken []takenBack, err error) {
	if o, err = withDefaults(o); err != nil {
		return nil, err
	}
	if entries, err := os.ReadDir(o.Data); err == nil && len(entries) > 0 {
		return nil, fault.New(fault.Conflict, "restore.not_empty", "%s is not empty.", o.Data).Do("Give --data a new folder; nothing is overwritten.")
	}
	if err := os.MkdirAll(o.Data, 0o700); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil { // half a company must not look like one; the folder was empty
			err = errors.Join(err, emptyFolder(o.Data))
		}
	}()
	f, err := os.Open(file)
	if err != nil {
		return nil, fault.New(fault.Invalid, "restore.unreadable", "The backup %s cannot be read.", file).Because(err)
	}
	defer f.Close()
	zip, err := gzip.NewReader(f)
	if err != nil {
		return nil, fault.New(fault.Invalid, "restore.damaged", "%s is not a backup of Flywheel.", file).Because(err)
	}
	if err := unpackBackup(o.Data, zip); err != nil {
		return nil, err
	}
	k, err := os.Open(keys)
	if err != nil {
		return nil, fault.New(fault.Invalid, "restore.no_keys", "The keys %s cannot be read; without them no secret and no state can be opened.", keys).Do("Say --keys.").Because(err)
	}
	defer k.Close()
	if err := restoreKeys(o, k); err != nil {
		return nil, err
	}
	dump := filepath.Join(o.Data, "database")
	if postgres(o.DatabaseURL) {
		said, err := exec.CommandContext(ctx, "pg_restore", "--no-owner", "--exit-on-error", "--dbname="+o.DatabaseURL, dump).CombinedOutput()
		if err != nil {
			return nil, fault.New(fault.Unavailable, "restore.pg_restore", "pg_restore failed: %s", strings.TrimSpace(string(said))).Because(err)
		}
		if err := os.Remove(dump); err != nil {
			return nil, err
		}
	} else if err := os.Rename(dump, o.DatabaseURL); err != nil {
		return nil, err
	}
	if err := passFences(ctx, o.DatabaseURL); err != nil {
		return nil, err
	}
	host := &git.Host{Root: filepath.Join(o.Data, "repos")}
	if err := restoreRepos(ctx, host, filepath.Join(o.Data, "repos")); err != nil {
		return nil, err
	}
	return rewindRepos(ctx, host, o.DatabaseURL)
}

// rewindRepos takes off every main what the database does not know as merged, or as being merged, and returns it:
// it was merged after the database was copied.
func rewindRepos(ctx context.Context, host *git.Host, url string) (taken []takenBack, err error) {
	d, err := db.Open(ctx, url)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	repos, err := host.List()
	if err != nil {
		return nil, err
	}
	for _, r := range repos {
		kind := change.OfApp
		if r.Kind == git.Patterns {
			kind = change.OfPattern
		}
		merges, changes := map[string]bool{}, map[string]change.Change{}
		err := d.Read(ctx, func(tx *db.Tx) error {
			all, err := change.Of(tx, kind, r.Name)
			for _, c := range all {
				merges[c.Merged], changes[c.ID] = true, c
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		dropped, err := host.Rewind(ctx, r, func(merge, id string) bool {
			return merges[merge] || changes[id].State == change.Merging
		}, func(id string) string {
			if branch := changes[id].Branch; branch != "" {
				return branch
			}
			return "restored-" + strings.TrimPrefix(id, "chg_")
		})
		if err != nil {
			return nil, err
		}
		for _, id := range dropped {
			taken = append(taken, takenBack{r, id})
		}
	}
	return taken, nil
}

// emptyFolder removes everything in a folder, and leaves the folder, which may be a mount.
func emptyFolder(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}

// afterRestore is more than the deployments that an instance can have had since any backup.
const afterRestore = 1_000_000

// passFences raises every fence over those that were given after the backup: the agent has seen them, and
// would take the next deployments for ones that were overtaken. Engines that still run hold old ones.
func passFences(ctx context.Context, url string) error {
	d, err := db.Open(ctx, url)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Write(ctx, func(tx *db.Tx) error {
		for _, table := range []string{"instance", "deployment"} {
			if _, err := tx.Exec(`update `+table+` set fence = fence + $1`, afterRestore); err != nil {
				return err
			}
		}
		return nil
	})
}

func restoreRepos(ctx context.Context, host *git.Host, root string) error {
	bundles, err := filepath.Glob(filepath.Join(root, "*", "*.bundle"))
	if err != nil {
		return err
	}
	for _, b := range bundles {
		f, err := os.Open(b)
		if err != nil {
			return err
		}
		r := git.Repo{Kind: git.Kind(filepath.Base(filepath.Dir(b))), Name: strings.TrimSuffix(filepath.Base(b), ".bundle")}
		err = errors.Join(host.Restore(ctx, r, f), f.Close(), os.Remove(b))
		if err != nil {
			return err
		}
	}
	return nil
}

func unpackBackup(dir string, r io.Reader) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	archive := tar.NewReader(r)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fault.New(fault.Invalid, "restore.damaged", "The backup is damaged.").Because(err)
		}
		if err := root.MkdirAll(filepath.Dir(h.Name), 0o700); err != nil {
			return err
		}
		f, err := root.OpenFile(h.Name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, archive)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
}
