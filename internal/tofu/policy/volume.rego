# A volume never becomes smaller, because what it holds may no longer fit.
package flywheel

deny contains {"address": change.address, "msg": msg} if {
	some change in input.resource_changes
	change.type == "flywheel_volume"
	before := change.change.before.size_mb
	after := change.change.after.size_mb
	after < before
	msg := sprintf("%s would shrink from %d to %d MB.", [change.address, before, after])
}
