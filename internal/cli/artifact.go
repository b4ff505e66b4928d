package cli

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"flywheel.dev/flywheel/internal/fault"
)

func (s *shell) artifactCommand() *cobra.Command {
	upload := &cobra.Command{
		Use: "upload FOLDER|FILE", Short: "Upload what a pattern runs beside the app's own artifact",
		Long: `Upload an artifact that a pattern runs beside the app's own, for example a search service, and print its
digest for the module. A folder is packed: the same content gives the same digest. A file is sent as it
is and must be a gzipped tar archive.`,
		Example: "  flywheel artifact upload bin/searchd/", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			file, err := artifactFile(args[0])
			if err != nil {
				return err
			}
			defer file.Close()
			return s.act(c, func(ctx context.Context, api *client) error {
				var raw json.RawMessage
				if err := api.upload(ctx, path("artifacts"), "application/gzip", file, &raw); err != nil {
					return err
				}
				return one(s, c, raw, func(p *page, v struct {
					Digest string
					Size   int64
				}) {
					p.fields("artifact", v.Digest, "size", size(v.Size))
				})
			})
		},
	}
	c := &cobra.Command{Use: "artifact", Short: "Artifacts: upload"}
	c.AddCommand(upload)
	return c
}

// artifactFile opens a packed artifact, or packs a folder into a temporary file that is gone when it is
// closed.
func artifactFile(name string) (*os.File, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return os.Open(name)
	}
	file, err := os.CreateTemp("", "flywheel-artifact-")
	if err != nil {
		return nil, err
	}
	err = errors.Join(os.Remove(file.Name()), pack(file, name))
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// pack writes the files of a folder in the order of their paths, without times and owners.
func pack(w io.Writer, dir string) error {
	zip := gzip.NewWriter(w)
	archive := tar.NewWriter(zip)
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		header := &tar.Header{Name: filepath.ToSlash(relative), Typeflag: tar.TypeReg, Mode: 0o644, Size: info.Size(), Format: tar.FormatPAX}
		if info.Mode()&0o111 != 0 {
			header.Mode = 0o755
		}
		switch {
		case d.IsDir():
			header.Typeflag, header.Name, header.Size, header.Mode = tar.TypeDir, header.Name+"/", 0, 0o755
			return archive.WriteHeader(header)
		case !d.Type().IsRegular():
			return fault.New(fault.Invalid, "cli.artifact", "%s is neither a file nor a folder, so it cannot be part of an artifact.", relative).Do("Replace the link by what it points to.")
		}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		file, err := os.Open(name)
		if err != nil {
			return err
		}
		defer file.Close()
		_, err = io.Copy(archive, file)
		return err
	})
	return errors.Join(err, archive.Close(), zip.Close())
}

// size says how large something is.
func size(n int64) string {
	switch {
	case n >= 1<<20:
		return number(n>>20) + " MiB"
	case n >= 1<<10:
		return number(n>>10) + " KiB"
	}
	return number(n) + " bytes"
}
