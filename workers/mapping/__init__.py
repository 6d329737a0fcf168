"""What a backend's ERP calls our products and pharmacies: the copy that a worker maps orders by, and the import.

Face: `current_mapping`, `mapping_file`, `importing`.
"""
