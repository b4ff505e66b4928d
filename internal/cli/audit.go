package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func (s *shell) auditCommand() *cobra.Command {
	c := &cobra.Command{Use: "audit", Short: "The audit log: list, verify"}
	c.AddCommand(s.auditList(), s.auditVerify())
	return c
}

func (s *shell) auditList() *cobra.Command {
	type record struct {
		At                              time.Time
		Name, Action, Subject, Decision string
		Reason, RequestID               string
		ClientRequestID                 string
	}
	var subject, person, action, request string
	limit := 0
	c := &cobra.Command{
		Use: "list", Short: "List decisions, the newest first", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return s.act(c, func(ctx context.Context, api *client) error {
				raw, err := api.list(ctx, path("audit"), query("subject", subject, "person", person, "action", action, "requestId", request), limit)
				if err != nil {
					return err
				}
				columns := []string{"WHEN", "WHO", "ACTION", "SUBJECT", "DECISION", "REASON"}
				if request != "" {
					columns = append(columns, "REQUEST")
				}
				return many(s, c, raw, none(subject+person+action, "Nothing has been decided.", "No decision matches."), columns, func(p *page, v record) []string {
					row := []string{p.ago(v.At), v.Name, v.Action, v.Subject, v.Decision, clip(v.Reason, 60)}
					if request == "" {
						return row
					}
					id := v.RequestID
					if v.ClientRequestID != "" {
						id += " (its client says " + v.ClientRequestID + ")"
					}
					return append(row, id)
				})
			})
		},
	}
	c.Flags().StringVar(&subject, "subject", "", "only about this")
	c.Flags().StringVar(&person, "person", "", "only by the person of this name")
	c.Flags().StringVar(&action, "action", "", "only this action, or all of a noun: change.approved, change")
	c.Flags().StringVar(&request, "request", "", "only what the request of this id led to; the id may be ours, or the one its client gave it")
	limitFlag(c, &limit, 50)
	return c
}

func (s *shell) auditVerify() *cobra.Command {
	type verdict struct {
		Sound  int64
		Last   string
		Broken *struct {
			Seq    int64
			Reason string
		}
	}
	var kept string
	c := &cobra.Command{
		Use: "verify", Short: "Check that no entry was changed or removed",
		Long: "Check the chain of hashes of the audit log. Note the line \"keep elsewhere\" outside of Flywheel and give it\nas --kept next time: only that shows that the end of the log was cut off, or all of it written anew.", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			sound, last, both := strings.Cut(strings.TrimSpace(kept), ":")
			if n, err := strconv.ParseInt(sound, 10, 64); kept != "" && (!both || last == "" || err != nil || n < 1) {
				return usage("--kept %s is not what was printed under \"keep elsewhere\": a number and a hash, as 120:3f9a….", kept)
			}
			return s.act(c, func(ctx context.Context, api *client) error {
				var raw json.RawMessage
				at := path("audit", "verify")
				if kept != "" {
					at += "?" + query("keptSound", sound, "keptLast", last).Encode()
				}
				if err := api.get(ctx, at, &raw); err != nil {
					return err
				}
				var v verdict
				if err := understand(raw, &v); err != nil {
					return err
				}
				err := one(s, c, raw, func(p *page, v verdict) {
					p.fields("sound entries", number(v.Sound), "keep elsewhere", fmt.Sprintf("%d:%s", v.Sound, v.Last))
					if v.Broken != nil {
						p.line("%s entry %d. %s", p.paint(red, "broken at"), v.Broken.Seq, v.Broken.Reason)
					}
				})
				if err == nil && v.Broken != nil {
					note(c, "The log was altered after entry %d. Compare it with a backup from before.", v.Sound)
					err = exitError(Failed)
				}
				return err
			})
		},
	}
	c.Flags().StringVar(&kept, "kept", "", "what was kept of an earlier verification, as 120:3f9a…")
	return c
}
