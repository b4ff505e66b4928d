# Every service says where its health can be asked: without it a release cannot be verified, nor rolled
# back by itself.
package flywheel

deny contains {"address": change.address, "msg": msg} if {
	some change in input.resource_changes
	change.type == "flywheel_service"
	change.change.after != null
	object.get(change.change.after, "health_path", null) in {null, ""}
	not object.get(change.change.after_unknown, "health_path", false)
	msg := sprintf("%s has no health_path, so nobody can tell whether a release of it works.", [change.address])
}
