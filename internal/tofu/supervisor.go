package tofu

const logFile = "log"
