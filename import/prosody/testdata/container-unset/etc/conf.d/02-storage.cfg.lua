default_storage = os.getenv("STORAGE")
sql = {
  driver = os.getenv("DB_DRIVER");
  database = os.getenv("DB_DATABASE");
  host = os.getenv("DB_HOST");
  port = os.getenv("DB_PORT");
  username = os.getenv("DB_USERNAME");
  password = os.getenv("DB_PASSWORD");
}
storage = {
  archive = os.getenv("STORAGE");
}
archive_expires_after = "1y"
