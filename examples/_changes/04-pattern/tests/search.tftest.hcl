variables {
  artifact        = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
  search_artifact = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
}

run "the_app_finds_the_search" {
  command = plan

  assert {
    condition     = flywheel_service.search.health_path == "/healthz" && flywheel_service.search.memory_mb == 256
    error_message = "The search has a health check and a memory limit."
  }
}
