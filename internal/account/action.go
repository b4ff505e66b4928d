package account

import (
	"slices"
	"strings"

	"flywheel.dev/flywheel/internal/fault"
)

// actions are all that the audit log knows, as noun.verb; a test compares them with the code. A filter for another one
// is refused: nothing would ever match it.
var actions = []string{
	"app.create", "app.give", "artifact.upload",
	"change.approved", "change.changes_requested", "change.close", "change.effectchanged", "change.fix_forward", "change.merge", "change.merged",
	"change.recheck", "change.rejected", "change.release", "change.result",
	"consumer.skip",
	"deployment.cancel", "deployment.redeploy", "deployment.release", "deployment.rollback",
	"environment.delete", "environment.save",
	"pattern.certified", "pattern.certify", "pattern.create", "pattern.deprecated", "pattern.recommend", "pattern.retired",
	"pattern_request.accepted", "pattern_request.created", "pattern_request.declined", "pattern_request.developing", "pattern_request.done",
	"permission.refused", "sandbox.off", "secret.delete", "secret.set",
	"session.create", "session.end", "session.refused", "settings.edit",
	"team.create", "team.delete", "team.edit", "team.put_member", "team.remove_member",
	"token.create", "token.delete",
	"user.create", "user.edit", "user.password",
	"waiver.declined", "waiver.ended", "waiver.granted", "waiver.requested", "waiver.revoked",
}

// Actions returns the actions of the audit log, sorted.
func Actions() []string { return slices.Clone(actions) }

// checkAction refuses a filter for an action, or a noun of actions, that the audit log does not know.
func checkAction(action string) error {
	noun := strings.TrimSuffix(action, ".") + "."
	if action == "" || slices.Contains(actions, action) || slices.ContainsFunc(actions, func(a string) bool { return strings.HasPrefix(a, noun) }) {
		return nil
	}
	return fault.New(fault.Invalid, "audit.action_unknown", "The audit log has no action %q.", action).
		Do("Name one of %s, or a noun of them.", strings.Join(actions, ", ")).At("action", "unknown")
}
