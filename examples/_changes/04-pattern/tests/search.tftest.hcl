variables {
  artifact        = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
  search_artifact = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
}

run "the_search_runs_its_own_program" {
  command = plan

  assert {
    condition     = flywheel_service.search.artifact == var.search_artifact && flywheel_service.app.artifact == var.artifact
    error_message = "The search runs its own artifact, the app the app's."
  }
  assert {
    condition     = flywheel_service.search.health_path == "/healthz" && flywheel_service.search.memory_mb == 256
    error_message = "The search has a health check and a memory limit."
  }
}

run "a_search_that_is_no_digest_is_refused" {
  command = plan
  variables {
    search_artifact = "searchd"
  }
  expect_failures = [var.search_artifact]
}
