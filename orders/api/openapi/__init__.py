"""The API's OpenAPI document, made once: face `document.add_routes` and `document.document`."""
