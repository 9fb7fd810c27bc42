def audit_page(result): return "<!doctype html>"
